-- complete todos and open them again, so that each request writes: FILE, an id a line
dofile("done.lua")
dofile("free.lua")

function init(args)
  fill(args[1])
end

function request()
  local todo = take()
  return wrk.format("POST", "/v1/todos/" .. todo.id .. (todo.completed and "/reopen" or "/complete"))
end

function response(status, headers, body)
  give(answered(status, headers, body))
end
