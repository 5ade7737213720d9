-- KEYS stream. ARGV newest schema version that the caller knows.
-- Answers {schema version, INFO server, INFO memory, INFO persistence}.
local version = redis.call('HGET', KEYS[1], 'schema')
if not version then
  redis.call('HSET', KEYS[1], 'schema', ARGV[1])
  version = ARGV[1]
elseif tonumber(version) < tonumber(ARGV[1]) then
  -- What was written before is read as it is.
  redis.call('HSET', KEYS[1], 'schema', ARGV[1])
  version = ARGV[1]
end
local found = {version}
for _, section in ipairs({'server', 'memory', 'persistence'}) do
  local told = redis.pcall('INFO', section)
  if type(told) ~= 'string' then told = '' end
  table.insert(found, told)
end
return found
