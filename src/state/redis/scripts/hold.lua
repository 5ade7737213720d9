-- KEYS stream. ARGV an operator's word. Answers the word that counts now: the one with the higher version.
local there = redis.call('HGET', KEYS[1], 'operator')
if not there or string.sub(there, 1, 21) < string.sub(ARGV[1], 1, 21) then
  redis.call('HSET', KEYS[1], 'operator', ARGV[1])
  return ARGV[1]
end
return there
