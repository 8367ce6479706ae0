package redisshared_test

import (
	"crypto/tls"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"

	"example.com/msauth"
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
	cfg := msauth.Config{Shared: shared} // in each process of the app, and the same Keys
	fmt.Println(cfg.Shared != nil)
	// Output: true
}

// With a user of Redis who may do only what redisshared needs, over TLS.
func ExampleNew() {
	client := redis.NewClient(&redis.Options{
		Addr:      "redis.example.com:6380",
		Username:  "msauth", // ACL SETUSER msauth ...: see the package comment
		Password:  os.Getenv("REDIS_PASSWORD"),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	})
	defer client.Close()
	shared, err := redisshared.New(client, "myapp") // connects when it is first used
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(shared.Close()) // after Middleware.Close, when the server has shut down
	// Output: <nil>
}
