package redisshared_test

import (
	"log"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/redisshared"
)

func Example() {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"redis.example.com:6379"}})
	defer client.Close()
	shared, err := redisshared.New(client, "myapp")
	if err != nil {
		log.Fatal(err)
	}
	defer shared.Close()
	// Set it as Config.Shared, in each process of the app.
}
