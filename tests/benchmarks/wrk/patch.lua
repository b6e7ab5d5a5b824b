-- PATCH todos with their current entity tags. Argument: FILE with one id per line
dofile("done.lua")
dofile("free.lua")

local count = 0

function init(args)
  fill(args[1])
end

function request()
  local todo = take()
  count = count + 1
  wrk.headers["If-Match"] = todo.tag
  return wrk.format("PATCH", "/v1/todos/" .. todo.id, nil, '{"title":"Water all the plants, ' .. count .. '"}')
end

function response(status, headers, body)
  give(read_todo(status, headers, body))
end
