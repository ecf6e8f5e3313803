"""The scripts that decide about limits. Valkey runs each as one step, without other commands."""

DECIDE = """\
-- Decides about one request: a token of a client's bucket, and one request of its quota.
--
-- Each part is skipped if its key is missing. Valkey's clock is the only one, so that gateways need
-- not agree on theirs. All numbers in the answer are integers: Valkey cuts off decimals.
--
-- KEYS[1]  hash of the bucket: `tokens`, and `at`, the time in seconds when it had them; or ''
-- KEYS[2]  counter of the quota's period; or ''
-- ARGV     rate per second, burst, requests of the quota, Unix time when the counter expires
-- Returns  {allowed, remaining, seconds until full, seconds until a token} of the bucket,
--          then {allowed, used} of the quota
local bucket, counter = KEYS[1], KEYS[2]
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local quota, expires = tonumber(ARGV[3]), ARGV[4]
local answer = {0, 0, 0, 0, 0, 0}

if bucket ~= '' then
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1e6
  local state = redis.call('HMGET', bucket, 'tokens', 'at')
  local tokens, at = tonumber(state[1]) or burst, tonumber(state[2]) or now
  tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
  if tokens >= 1 then
    tokens = tokens - 1
    answer[1] = 1
  end
  redis.call('HSET', bucket, 'tokens', string.format('%.17g', tokens),
             'at', string.format('%.6f', now))
  local full = math.min(math.ceil((burst - tokens) / rate), 31536000)
  -- A full bucket and no bucket are the same. At most a year: a rate may be tiny.
  redis.call('EXPIRE', bucket, full + 1)
  answer[2] = math.floor(tokens)
  answer[3] = full
  if answer[1] == 0 then
    answer[4] = math.min(math.max(1, math.ceil((1 - tokens) / rate)), 31536000)
    return answer
  end
end

if counter ~= '' then
  local used = tonumber(redis.call('GET', counter) or 0)
  if used < quota then
    used = redis.call('INCR', counter)
    redis.call('EXPIREAT', counter, expires)
    answer[5] = 1
  end
  answer[6] = used
end
return answer
"""

RAISE = """\
-- Adds requests that a gateway counted by itself to the counter of a quota's period.
--
-- KEYS[1]  counter
-- ARGV     what the counter had at least before, requests to add, Unix time when it expires
-- Returns  the new value
local used = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[1]))
used = used + tonumber(ARGV[2])
redis.call('SET', KEYS[1], string.format('%d', used))
redis.call('EXPIREAT', KEYS[1], ARGV[3])
return used
"""

BLOCK = """\
-- Adds offenses of subjects, starts blocks, and returns the active blocks.
--
-- KEYS[1]    sorted set of blocked subjects by the end of their block
-- KEYS[2..]  hash of each subject: `count`, `start` of the window, `blocks` in a row, `until`
-- ARGV       threshold, seconds of the window, of the first and of the longest block, maximum
--            number of blocked subjects, then subject and offenses for each hash
-- Returns    subject and milliseconds left, for each active block
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local threshold, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local first, longest = tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 2, #KEYS do
  local subject, added = ARGV[2 * i + 2], tonumber(ARGV[2 * i + 3])
  local state = redis.call('HMGET', KEYS[i], 'count', 'start', 'blocks', 'until')
  local count, start = tonumber(state[1]) or 0, tonumber(state[2]) or now
  local blocks, blocked = tonumber(state[3]) or 0, tonumber(state[4]) or 0
  -- A gateway that does not know of a block yet reports offenses during it.
  if now >= blocked then
    if now - start > window then
      count, start = 0, now
    end
    count = count + added
    if count >= threshold then
      if now - blocked > longest then
        blocks = 0
      end
      blocked = now + math.min(first * 2 ^ math.min(blocks, 32), longest)
      blocks, count, start = blocks + 1, 0, blocked
      redis.call('ZADD', KEYS[1], string.format('%.6f', blocked), subject)
    end
    redis.call('HSET', KEYS[i], 'count', count, 'start', string.format('%.6f', start),
               'blocks', blocks, 'until', string.format('%.6f', blocked))
    local kept = math.max(start + window, blocked + longest) - now
    redis.call('EXPIRE', KEYS[i], math.ceil(blocked == 0 and window or kept) + 1)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[5]))
local answer = {}
local active = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if #active > 0 then
  redis.call('EXPIRE', KEYS[1], math.ceil(tonumber(active[#active]) - now) + 1)
end
for i = 1, #active, 2 do
  answer[#answer + 1] = active[i]
  answer[#answer + 1] = math.ceil((tonumber(active[i + 1]) - now) * 1000)
end
return answer
"""

FIND_KNOWN = """\
-- Finds which clients have authenticated from which addresses.
--
-- KEYS     sorted set of the addresses of each client
-- ARGV     addresses
-- Returns  number of the key and of the address, counted from 1, for each pair
local answer = {}
for i = 1, #KEYS do
  for j = 1, #ARGV do
    if redis.call('ZSCORE', KEYS[i], ARGV[j]) then
      answer[#answer + 1] = i
      answer[#answer + 1] = j
    end
  end
end
return answer
"""
