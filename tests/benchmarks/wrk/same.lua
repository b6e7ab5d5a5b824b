-- repeat one request. Arguments: METHOD [BODY]
dofile("done.lua")

function init(args)
  wrk.method = args[1]
  wrk.body = args[2]
end
