-- KEYS tenures. ARGV place, marks epoch and levels epoch of our assignment, progress that was acknowledged to us in it
-- ('-' for none), '1' when this may have been run before and its answer was lost.
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
  -- Not the next offset: another owner that took over in our epochs has set it back to what was committed.
  local behind = false
  if ARGV[4] ~= '-' then
    local of_marks, of_levels, at =
      string.match(redis.call('HGET', KEYS[1], ARGV[1] .. ' acknowledged') or '', '^(%S+) (%S+) (%S+)$')
    behind = of_marks ~= ARGV[2] or of_levels ~= ARGV[3] or at < ARGV[4]
  end
  if m == marks and l == levels and not behind then return 0 end
end
if ARGV[4] ~= '-' then
  redis.call('HSET', KEYS[1], ARGV[1] .. ' acknowledged', (marks + 1) .. ' ' .. (levels + 1) .. ' ' .. ARGV[4])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ' - ' .. (marks + 1) .. ' ' .. (levels + 1))
return 1
