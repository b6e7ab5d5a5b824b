-- a queue of todos: each request takes one, and its response returns it with its current entity tag
local queue, first, last = {}, 1, 0

function fill(file)
  for id in io.lines(file) do
    give({id = id, tag = '"1"', completed = false})
  end
end

function give(todo)
  last = last + 1
  queue[last] = todo
end

function take()
  local todo = queue[first]
  assert(todo, "there are fewer todos than connections")
  queue[first] = nil
  first = first + 1
  return todo
end

function read_todo(status, headers, body)
  assert(status == 200, "status " .. status .. ": " .. body)
  local id, tag = body:match('"id":"(%x+)"'), headers["etag"] or headers["ETag"]
  assert(id and tag, "a response has no id or no entity tag")
  return {id = id, tag = tag, completed = body:find('"completed":true', 1, true) ~= nil}
end
