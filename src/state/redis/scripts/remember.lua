-- KEYS jti, subject, tenures [, other subject].
-- ARGV place, marks epoch and levels epoch of our assignment ('' each: none yet), position, offset,
--      window in ms ('' unless accepted), event type, what was accepted.
-- Answers 1; 0 when the partition has had another owner since, so that only the jti was noted.
local place, offset, window = ARGV[1], ARGV[5], ARGV[6]
if window ~= '' then redis.call('SET', KEYS[1], '', 'PX', window) end
local next_offset, newest, marks, levels
local tenure = redis.call('HGET', KEYS[3], place)
if tenure then
  next_offset, newest, marks, levels = string.match(tenure, '^(%S+) (%S+) (%S+) (%S+)$')
  if ARGV[2] ~= '' and (ARGV[2] ~= marks or ARGV[3] ~= levels) then return 0 end
else
  next_offset, newest, marks, levels = '-', '-', ARGV[2], ARGV[3]
  if marks == '' then marks, levels = '0', '0' end
end
if not tenure or newest == '-' or newest < offset then
  redis.call('HSET', KEYS[3], place, next_offset .. ' ' .. offset .. ' ' .. marks .. ' ' .. levels)
end
local function move_mark(subject)
  local there = redis.call('HGET', subject, 'm:' .. place)
  if there then
    local epoch, position = string.match(there, '^(%S+) (%S+)$')
    if epoch == marks and position >= ARGV[4] then return false end
  end
  redis.call('HSET', subject, 'm:' .. place, marks .. ' ' .. ARGV[4])
  return true
end
local moved = move_mark(KEYS[2])
if KEYS[4] then move_mark(KEYS[4]) end
if window == '' or not moved then return 1 end
if KEYS[4] then
  local facts = redis.call('HGETALL', KEYS[2])
  for i = 1, #facts, 2 do
    if string.sub(facts[i], 1, 2) == 'l:' then
      redis.call('HDEL', KEYS[2], facts[i])
      local epoch, from = string.match(facts[i + 1], '^(%S+) (%S+)')
      local of = redis.call('HGET', KEYS[3], from)
      if of and epoch == string.match(of, '(%S+)$') then
        redis.call('HSET', KEYS[4], facts[i], facts[i + 1])
      end
    end
  end
end
redis.call('HSET', KEYS[2], 'l:' .. ARGV[7], levels .. ' ' .. place .. ' ' .. ARGV[8])
return 1
