package routers

import (
	"github.com/boj/redistore"
	"github.com/gorilla/sessions"
)

// FileStore keeps sessions in the files of a directory, for Config.Store of a
// program on one machine. keys are the store's own: a random one of 32 bytes.
func FileStore(dir string, keys ...[]byte) *sessions.FilesystemStore {
	store := sessions.NewFilesystemStore(dir, keys...)
	store.MaxLength(0) // its 4096 bytes are fewer than a session has
	return store
}

// RedisStore keeps them in Redis, for programs on several machines.
func RedisStore(address, user, password string, keys ...[]byte) (*redistore.RediStore, error) {
	store, err := redistore.NewRediStore(10, "tcp", address, user, password, keys...)
	if err != nil {
		return nil, err
	}
	store.SetMaxLength(0) // its 4096 bytes are fewer than a session has
	return store, nil
}
