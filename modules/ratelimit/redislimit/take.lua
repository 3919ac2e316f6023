-- One decision over several windows, all or none. KEYS are the windows; of each,
-- ARGV has its capacity and what is to go in, in nanoseconds; what is less than
-- nothing comes out again, and always fits. A window is kept as
-- the time at which it will have drained: Unix seconds and nanoseconds, because
-- a double does not hold both in one number. The answer is 1 where all went in,
-- else 0, and the level of each window before the decision.
local clock = redis.call('TIME')
local sec, nsec = tonumber(clock[1]), tonumber(clock[2]) * 1000
local kept = redis.call('MGET', unpack(KEYS))
local fits, levels = 1, {}
for i = 1, #KEYS do
	local capacity, need = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
	local level = 0
	if kept[i] then
		local s, n = string.match(kept[i], '^(%d+) (%d+)$')
		if s then
			level = (tonumber(s) - sec) * 1000000000 + tonumber(n) - nsec
			level = math.min(math.max(level, 0), capacity)
		end
	end
	levels[i] = level
	if level + need > capacity then
		fits = 0
	end
end
if fits == 1 then
	for i = 1, #KEYS do
		local need = tonumber(ARGV[2 * i])
		local level = math.max(levels[i] + need, 0)
		if need ~= 0 and level == 0 then
			redis.call('DEL', KEYS[i])
		elseif need ~= 0 then
			local n = nsec + level
			local at = string.format('%.0f %.0f', sec + math.floor(n / 1000000000), n % 1000000000)
			redis.call('SET', KEYS[i], at, 'PX', math.ceil(level / 1000000))
		end
	end
end
return {fits, unpack(levels)}
