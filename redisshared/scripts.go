package redisshared

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// A script is run by its hash, and sent where that is not known.
type script struct{ source, hash string }

func newScript(source string) script { return script{source, redis.NewScript(source).Hash()} }

// appendScript appends ARGV[1], for ARGV[2] milliseconds at least, and returns the
// id. The log keeps all entries for the longest life that is in it: the newest entry
// knows that. Only Redis's own clock is used.
//
// Redis reserves 4 KB for a stream's first entries, which a log with an entry or two,
// such as the list of one user's sessions, never fills: written out and read in again
// it takes 500 bytes. Where that is not allowed, it stays as it is.
var appendScript = newScript(`
local life = tonumber(ARGV[2])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest then
	life = math.max(life, tonumber(newest[2][4]))
end
local id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[1], 'l', string.format('%d', life))
local oldest = tonumber(string.match(id, '^%d+')) - life
if oldest > 0 then
	redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%d', oldest))
end
if not newest then
	local dump = redis.pcall('DUMP', KEYS[1])
	if type(dump) == 'string' then
		redis.pcall('RESTORE', KEYS[1], 0, dump, 'REPLACE')
	end
end
redis.call('PEXPIRE', KEYS[1], string.format('%d', life))
return id
`)

// swapScript replaces the value if it is ARGV[1], by ARGV[2] for ARGV[3]
// milliseconds, and tells of key ARGV[5] in channel ARGV[4]. No bytes are no value.
var swapScript = newScript(`
local before = redis.call('GET', KEYS[1])
if (before or '') ~= ARGV[1] then
	return before
end
if ARGV[2] ~= '' then
	redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif before then
	redis.call('DEL', KEYS[1])
else
	return before
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return before
`)

// once is a command that the client does not send again: when the answer to the
// first is lost, it may have been done.
type once struct{ *redis.Cmd }

// NoRetry implements [redis.Cmder].
func (once) NoRetry() bool { return true }

// do sends a command once, whose key is args[keyPosition], and returns its answer.
func (s *Shared) do(ctx context.Context, keyPosition int8, args ...any) (string, error) {
	cmd := once{redis.NewCmd(ctx, args...)}
	cmd.SetFirstKeyPos(keyPosition)
	_ = s.client.Process(ctx, cmd) // cmd has the error
	return cmd.Text()
}

func (s *Shared) run(ctx context.Context, script script, key string, args ...any) (string, error) {
	answer, err := s.do(ctx, 3, append([]any{"evalsha", script.hash, 1, key}, args...)...)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		return s.do(ctx, 3, append([]any{"eval", script.source, 1, key}, args...)...)
	}
	return answer, err
}
