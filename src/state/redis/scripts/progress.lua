-- KEYS tenures. ARGV place, owner ('-': it was assigned to nobody), next offset.
-- Answers 1; 0 when the partition has another owner; 2 when nothing is known about it. Progress never goes back.
local next_offset, newest, marks, levels, owner = '-', '-', '0', '0', '-'
local tenure = redis.call('HGET', KEYS[1], ARGV[1])
if tenure then
  next_offset, newest, marks, levels, owner = string.match(tenure, '^(%S+) (%S+) (%S+) (%S+) ?(%S*)$')
  if owner == '' then owner = '-' end
end
if owner ~= ARGV[2] then return tenure and 0 or 2 end
if next_offset ~= '-' and next_offset >= ARGV[3] then return 1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] .. ' ' .. newest .. ' ' .. marks .. ' ' .. levels .. ' ' .. owner)
return 1
