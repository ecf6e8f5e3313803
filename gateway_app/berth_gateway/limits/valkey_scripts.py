"""The scripts that decide about limits. Valkey runs each as one step, without other commands."""

DECIDE = """\
-- Decides about one request: a token of a client's bucket, and one request of its quota.
--
-- A part is skipped if its rate or quota is empty; its key is then that of the other part. Valkey's
-- clock is the only one, so that gateways need not agree on theirs. All numbers in the answer are
-- integers: Valkey cuts off decimals.
--
-- KEYS[1]  hash of the bucket: `tokens`, and `at`, the time in seconds when it had them
-- KEYS[2]  counter of the quota's period
-- ARGV     rate per second, burst, requests of the quota, Unix time when the counter expires
-- Returns  {allowed, remaining, seconds until full, seconds until a token} of the bucket,
--          then {allowed, used} of the quota
local bucket, counter = KEYS[1], KEYS[2]
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local quota, expires = tonumber(ARGV[3]), ARGV[4]
local answer = {0, 0, 0, 0, 0, 0}

if rate then
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

if quota then
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
-- Adds offenses of subjects, starts blocks, and returns the blocks that are new to a gateway.
--
-- Each block gets a number above all earlier ones. A gateway states the last number that it has
-- read, and gets only later ones. If there is no such number any more, it gets all from the start.
--
-- KEYS[1]  sorted set of blocked subjects by the end of their block
-- KEYS[2]  sorted set of blocked subjects by the number of their block
-- KEYS[3]  number of the last block
-- KEYS[4]  hash: subject -> offenses, start of the window, blocks in a row, end of the last block
-- KEYS[5]  sorted set of the subjects of this hash by the time when they are forgotten
-- ARGV     threshold, seconds of the window, of the first and of the longest block, maximum number
--          of subjects, number after which to read, maximum number of blocks to return, then
--          subject and offenses for each report
-- Returns  1 if there are more blocks or 0, the number after which to read next, then subject and
--          milliseconds left for each block
local ends, numbers, last_key, offenses, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local threshold, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local first, longest = tonumber(ARGV[3]), tonumber(ARGV[4])
local last = tonumber(redis.call('GET', last_key) or 0)

for i = 8, #ARGV, 2 do
  local subject, added = ARGV[i], tonumber(ARGV[i + 1])
  local state = redis.call('HGET', offenses, subject) or ''
  local count, start, blocks, blocked = string.match(state, '^(%S+) (%S+) (%S+) (%S+)$')
  count, start = tonumber(count) or 0, tonumber(start) or now
  blocks, blocked = tonumber(blocks) or 0, tonumber(blocked) or 0
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
      last = math.max(last + 1, math.floor(now * 1e6))
      redis.call('ZADD', ends, string.format('%.6f', blocked), subject)
      redis.call('ZADD', numbers, string.format('%.0f', last), subject)
    end
    redis.call('HSET', offenses, subject,
               string.format('%d %.6f %d %.6f', count, start, blocks, blocked))
    local forget = blocked == 0 and start + window or math.max(start + window, blocked + longest)
    redis.call('ZADD', kept, string.format('%.6f', forget), subject)
  end
end

-- At most 1,000 at once, so that decisions about limits need not wait long. The others follow.
local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.6f', now),
                         'LIMIT', 0, 1000)
for _, subject in ipairs(ended) do
  redis.call('ZREM', ends, subject)
  redis.call('ZREM', numbers, subject)
end
local forgotten = redis.call('ZRANGEBYSCORE', kept, '-inf', string.format('%.6f', now),
                             'LIMIT', 0, 1000)
local excess = redis.call('ZCARD', kept) - tonumber(ARGV[5])
if #forgotten == 0 and excess > 0 then
  forgotten = redis.call('ZRANGE', kept, 0, math.min(excess, 1000) - 1)
end
for _, subject in ipairs(forgotten) do
  redis.call('ZREM', kept, subject)
  redis.call('HDEL', offenses, subject)
  redis.call('ZREM', ends, subject)
  redis.call('ZREM', numbers, subject)
end
if #ARGV > 7 then
  redis.call('SET', last_key, string.format('%.0f', last))
  local longest_kept = redis.call('ZRANGE', kept, -1, -1, 'WITHSCORES')
  local seconds = math.max(1, math.ceil((tonumber(longest_kept[2]) or now) - now) + 1)
  for _, key in ipairs(KEYS) do
    redis.call('EXPIRE', key, seconds)
  end
end

local after, limit = tonumber(ARGV[6]), tonumber(ARGV[7])
if after > last then
  after = 0
end
local found = redis.call('ZRANGEBYSCORE', numbers, string.format('(%.0f', after), '+inf',
                         'WITHSCORES', 'LIMIT', 0, limit)
local answer = {#found == 2 * limit and 1 or 0, ''}
for i = 1, #found, 2 do
  after = tonumber(found[i + 1])
  local blocked = tonumber(redis.call('ZSCORE', ends, found[i]) or 0)
  if blocked > now then
    answer[#answer + 1] = found[i]
    answer[#answer + 1] = math.ceil((blocked - now) * 1000)
  end
end
answer[2] = string.format('%.0f', after)
return answer
"""

REMEMBER_KNOWN = """\
-- Remembers from which addresses clients have authenticated.
--
-- KEYS     sorted set of the addresses of each client by the time of their last use
-- ARGV     maximum number of addresses of a client, seconds that an address is kept, then number of
--          the key, counted from 1, address and seconds since its last use for each pair
local time = redis.call('TIME')
local kept = tonumber(ARGV[2])
for i = 3, #ARGV, 3 do
  local used = string.format('%.0f', time[1] - tonumber(ARGV[i + 2]))
  redis.call('ZADD', KEYS[tonumber(ARGV[i])], 'GT', used, ARGV[i + 1])
end
for _, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', time[1] - kept))
  redis.call('ZREMRANGEBYRANK', key, 0, -1 - tonumber(ARGV[1]))
  redis.call('EXPIRE', key, kept)
end
"""

FIND_KNOWN = """\
-- Finds which clients have authenticated from which addresses.
--
-- KEYS     sorted set of the addresses of each client by the time of their last use
-- ARGV     seconds that an address is kept, then addresses
-- Returns  number of the key and of the address, counted from 1, and seconds since the last use for
--          each pair
local time = redis.call('TIME')
local kept = tonumber(ARGV[1])
local answer = {}
for i = 1, #KEYS do
  for j = 2, #ARGV do
    local used = tonumber(redis.call('ZSCORE', KEYS[i], ARGV[j]) or 0)
    if time[1] - used < kept then
      answer[#answer + 1] = i
      answer[#answer + 1] = j - 1
      answer[#answer + 1] = math.max(0, time[1] - used)
    end
  end
end
return answer
"""

COMMANDS = (
    "evalsha", "script|load", "info", "client|setinfo", "time", "get", "set", "incr",
    "expire", "expireat", "hget", "hset", "hdel", "hmget", "zadd", "zcard", "zrange",
    "zrangebyscore", "zrem", "zremrangebyrank", "zremrangebyscore", "zscore",
)  # fmt: skip
"""Commands of Valkey that a gateway and its scripts call. Valkey checks those of scripts, too. A
URL that names a database needs `select` as well. Valkey allows `auth` to every user."""


def build_permissions(keys: str) -> str:
    """Return the rules of a Valkey user that may do what a gateway does, and nothing else.

    Args:
        keys: Pattern of the keys, such as `berth:*`.
    """
    return " ".join([f"~{keys}", "resetchannels", "-@all", *(f"+{name}" for name in COMMANDS)])
