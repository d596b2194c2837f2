-- The first list of claims that fits whole: its number and the positions of its first and last claim in `args`.
-- Otherwise nil, then of the first list the position of the claim that does not fit, and what remains of its counter
-- (nil: a gate is closed). `counts` has the number of claims of each list, `args` from `start` on counter, quantity and
-- size of each claim, `taken` from `offset` on what is taken of each.
local function choose_claims(args, start, counts, taken, offset, gates, pass)
  gates = gates and ' ' .. gates .. ' '
  local first, number, at, left = start, 0, nil, nil
  for count in string.gmatch(counts, '%d+') do
    local last, fits = first + 3 * count - 1, true
    for i = first, last, 3 do
      local remaining = tonumber(args[i + 2]) - tonumber(taken[offset + (i - start) / 3] or '0')
      local shut = gates and string.find(gates, ' ' .. args[i] .. '=', 1, true)
        and not string.find(gates, ' ' .. args[i] .. '=' .. pass .. ' ', 1, true)
      local claimed = tonumber(args[i + 1])
      fits = not shut and (claimed == 0 or remaining >= claimed)
      if not fits then
        if not at then at, left = i, not shut and remaining or nil end
        break
      end
    end
    if fits then return number, first, last end
    first, number = last + 1, number + 1
  end
  return nil, at, left
end
