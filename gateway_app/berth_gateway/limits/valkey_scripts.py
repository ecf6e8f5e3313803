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
