-- the same request again and again: METHOD [BODY]
dofile("done.lua")

function init(args)
  wrk.method = args[1]
  wrk.body = args[2]
end
