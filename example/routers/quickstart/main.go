// Command quickstart is the program of the README.
package main

// begin quickstart
import (
	"encoding/base64"
	"fmt"
	"log"
	"net/http"
	"os"

	"example.com/msauth"
)

func main() {
	key, err := base64.StdEncoding.DecodeString(os.Getenv("MSAUTH_KEY")) // openssl rand -base64 32
	if err != nil {
		log.Fatal("MSAUTH_KEY: ", err)
	}
	auth, err := msauth.New(msauth.Config{
		ClientID:     os.Getenv("AZURE_CLIENT_ID"),
		ClientSecret: os.Getenv("AZURE_CLIENT_SECRET"),
		Authority:    os.Getenv("AZURE_AUTHORITY_HOST"), // empty: Microsoft's global cloud
		BaseURL:      "http://localhost:8080/auth",
		Keys:         [][]byte{key}, // the first encrypts the cookies, all decrypt them
	})
	if err != nil {
		log.Fatal(err) // names the setting that is wrong
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintf(w, "Hello, %s", s.User.Name)
	})
	http.Handle("/auth/", auth)           // login, callback, logout, signed-out
	http.Handle("/", auth.Require(hello)) // your handler, wrapped
	log.Fatal(http.ListenAndServe("localhost:8080", nil))
}

// end quickstart
