-- Has wrk send prepared requests, each preceded by its size in eight digits, and count the answers.
--
-- Arguments: the file, and 'again' to send its requests from the beginning once they are used up; without it a
-- connection that finds none waits for the end of the run. Prints one line of JSON.
local SIZE_DIGITS = 8
local CLOCK_MONOTONIC = 1

local ffi = require('ffi')
ffi.cdef 'typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);'
local moment = ffi.new('moment')

local threads = {}
local file, again, verified

statuses = {}

local function now_s()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, moment)
  return tonumber(moment.s) + tonumber(moment.ns) / 1e9
end

function setup(thread) threads[#threads + 1] = thread end

function init(args)
  file = assert(io.open(args[1], 'rb'))
  again = args[2] == 'again'
end

function request()
  local size = file:read(SIZE_DIGITS)
  if not size and again then
    file:seek('set')
    size = file:read(SIZE_DIGITS)
  end
  if not size then return '' end
  local text = file:read(tonumber(size))
  if verified then
    began_s = began_s or now_s()
  else
    -- wrk asks for one before the run, only to look at it.
    verified = true
    file:seek('set')
  end
  return text
end

function response(status)
  statuses[status] = (statuses[status] or 0) + 1
  ended_s = now_s()
end

function done(summary, latency)
  local thread, counts = threads[1], {}
  for status, count in pairs(thread:get('statuses')) do
    counts[#counts + 1] = string.format('"%d":%d', status, count)
  end
  local broken = summary.errors
  io.write(string.format(
    '{"statuses":{%s},"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"broken":%d}\n',
    table.concat(counts, ','), (thread:get('ended_s') or 0) - (thread:get('began_s') or 0),
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    broken.connect + broken.read + broken.write + broken.timeout))
end
