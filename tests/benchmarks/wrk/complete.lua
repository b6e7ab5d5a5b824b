-- complete and reopen todos, so that each request writes. Argument: FILE with one id per line
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
  give(read_todo(status, headers, body))
end
