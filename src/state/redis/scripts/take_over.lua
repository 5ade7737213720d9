-- KEYS tenures. ARGV place, tenure as the caller read it ('' for none), tenure to be.
-- Answers 1; 0 when it is another one by now, and nothing was written.
local there = redis.call('HGET', KEYS[1], ARGV[1])
if (there or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
