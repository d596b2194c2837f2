-- Give claims back, as a record has them: 'counter=quantity …'.
local function give_back(counters, claims)
  for counter, quantity in string.gmatch(claims, '(%S+)=(%d+)') do
    redis.call('HINCRBY', counters, counter, -tonumber(quantity))
  end
end
