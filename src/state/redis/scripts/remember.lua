-- KEYS jti, subject, tenures [, other subject].
-- ARGV place, owner ('-': it was assigned to nobody), position, offset,
--      window in ms ('' unless accepted), event type, what was accepted, '1' when it was replayed.
-- Answers 1; 0 when the partition has another owner, 2 when nothing is known about it. Then an acceptance is noted all
-- the same, for it is true, as one that neither mark nor level knows of: whoever finds the SET again makes up for it.
local place, position, offset, window = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local event, accepted, replayed = ARGV[6], ARGV[7], ARGV[8] == '1'
local next_offset, newest, marks, levels, owner = '-', '-', '0', '0', '-'
local tenure = redis.call('HGET', KEYS[3], place)
if tenure then
  next_offset, newest, marks, levels, owner = string.match(tenure, '^(%S+) (%S+) (%S+) (%S+) ?(%S*)$')
  if owner == '' then owner = '-' end
end
if owner ~= ARGV[2] then
  if window ~= '' then redis.call('SET', KEYS[1], 'late', 'PX', window, 'NX') end
  return tenure and 0 or 2
end
if window ~= '' then redis.call('SET', KEYS[1], '', 'PX', window) end
local is_newest = not replayed and (newest == '-' or newest < offset)
if is_newest then newest = offset end
if is_newest or not tenure then
  redis.call('HSET', KEYS[3], place, next_offset .. ' ' .. newest .. ' ' .. marks .. ' ' .. levels .. ' ' .. owner)
end
-- The last accepted of an event type: when, as it is written, and where if on this partition; nothing when its epoch is over.
local function last(subject, field)
  local there = redis.call('HGET', subject, field)
  if not there then return nil end
  local epoch, from, time, at = string.match(there, '^(%S+) (%S+) (%S+) %S+ ?(%S*)$')
  local of = redis.call('HGET', KEYS[3], from)
  if of and epoch == string.match(of, '^%S+ %S+ %S+ (%S+)') then
    if from ~= place then at = '' end
    return tonumber(time), there, at
  end
end
local function mark(subject)
  local there = redis.call('HGET', subject, 'm:' .. place)
  if there then
    local epoch, at = string.match(there, '^(%S+) (%S+)$')
    if epoch == marks then return at end
  end
end
local function move_mark(subject)
  local there = mark(subject)
  if there and there >= position then return false end
  redis.call('HSET', subject, 'm:' .. place, marks .. ' ' .. position)
  return true
end
local is_last
if replayed then
  local time = tonumber(string.match(accepted, '^%S+'))
  local known, _, at = last(KEYS[2], 'l:' .. event)
  is_last = not known or known < time or (known == time and at <= position)
else
  is_last = move_mark(KEYS[2])
  if KEYS[4] then move_mark(KEYS[4]) end
end
if window == '' or not is_last then return 1 end
if KEYS[4] then
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(field, 1, 2) == 'l:' then
      local time, written = last(KEYS[2], field)
      redis.call('HDEL', KEYS[2], field)
      local there = replayed and last(KEYS[4], field)
      if time and not (there and there > time) then redis.call('HSET', KEYS[4], field, written) end
    end
  end
end
redis.call('HSET', KEYS[2], 'l:' .. event, levels .. ' ' .. place .. ' ' .. accepted)
return 1
