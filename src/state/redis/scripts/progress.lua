-- KEYS tenures. ARGV place, marks epoch and levels epoch of our assignment ('' each: none yet), next offset.
-- Answers 1; 0 when the partition has had another owner since. Progress never goes back.
local next_offset, newest, marks, levels
-- What was acknowledged in these epochs: unlike the next offset, which an assignment sets back to what is committed,
-- it never goes back.
local function acknowledge()
  local field = ARGV[1] .. ' acknowledged'
  local m, l, at = string.match(redis.call('HGET', KEYS[1], field) or '', '^(%S+) (%S+) (%S+)$')
  if m ~= marks or l ~= levels or at < ARGV[4] then
    redis.call('HSET', KEYS[1], field, marks .. ' ' .. levels .. ' ' .. ARGV[4])
  end
end
local tenure = redis.call('HGET', KEYS[1], ARGV[1])
if tenure then
  next_offset, newest, marks, levels = string.match(tenure, '^(%S+) (%S+) (%S+) (%S+)$')
  if ARGV[2] ~= '' and (ARGV[2] ~= marks or ARGV[3] ~= levels) then return 0 end
  acknowledge()
  if next_offset ~= '-' and next_offset >= ARGV[4] then return 1 end
else
  newest, marks, levels = '-', ARGV[2], ARGV[3]
  if marks == '' then marks, levels = '0', '0' end
  acknowledge()
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ' ' .. newest .. ' ' .. marks .. ' ' .. levels)
return 1
