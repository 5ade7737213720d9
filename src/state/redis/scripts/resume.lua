-- KEYS tenures. ARGV place, marks epoch and levels epoch of our assignment, next offset that we were told is
-- written ('-' for none), '1' when this may have been run before and its answer was lost.
-- Answers 0 when that is still there, or the partition has had another owner since. Else the server has lost
-- writes: levels may be older than what was accepted, so a new epoch begins, by one in each; answers 1, and again
-- when it is asked again.
local marks, levels = tonumber(ARGV[2]), tonumber(ARGV[3])
local tenure = redis.call('HGET', KEYS[1], ARGV[1])
if tenure then
  local next_offset, newest, m, l = string.match(tenure, '^(%S+) (%S+) (%S+) (%S+)$')
  m, l = tonumber(m), tonumber(l)
  local is_begun = m == marks + 1 and l == levels + 1 and newest == '-' and next_offset == ARGV[4]
  if is_begun and ARGV[5] == '1' then return 1 end
  if m > marks or l > levels then return 0 end
  local behind = ARGV[4] ~= '-' and (next_offset == '-' or next_offset < ARGV[4])
  if m == marks and l == levels and not behind then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ' - ' .. (marks + 1) .. ' ' .. (levels + 1))
return 1
