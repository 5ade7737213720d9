-- KEYS jti, subject, tenures. ARGV place, event type.
-- Answers {0 or, when the jti was accepted, 1, or 2 when neither mark nor level knows of it, mark or '',
-- last accepted or '', another partition has a mark, the last accepted is of this partition}.
local mark, last, other, here = '', '', 0, 0
local facts = redis.call('HGETALL', KEYS[2])
for i = 1, #facts, 2 do
  local kind, name = string.match(facts[i], '^(%a):(.*)$')
  if kind == 'm' then
    local epoch, position = string.match(facts[i + 1], '^(%S+) (%S+)$')
    local tenure = redis.call('HGET', KEYS[3], name)
    if tenure and epoch == string.match(tenure, '^%S+ %S+ (%S+)') then
      if name == ARGV[1] then mark = position else other = 1 end
    end
  elseif kind == 'l' and name == ARGV[2] then
    local epoch, from, accepted = string.match(facts[i + 1], '^(%S+) (%S+) (.*)$')
    local tenure = redis.call('HGET', KEYS[3], from)
    if tenure and epoch == string.match(tenure, '^%S+ %S+ %S+ (%S+)') then
      last = accepted
      if from == ARGV[1] then here = 1 end
    end
  end
end
local noted = redis.call('GET', KEYS[1])
return {noted and (noted == '' and 1 or 2) or 0, mark, last, other, here}
