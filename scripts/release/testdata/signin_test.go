// Package main is the README's program in the hands of somebody who has just fetched
// the module: go run ./scripts/release check puts this file beside it.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func TestSignIn(t *testing.T) {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	key := make([]byte, 32)
	rand.Read(key)
	t.Setenv("MSAUTH_KEY", base64.StdEncoding.EncodeToString(key))
	t.Setenv("AZURE_CLIENT_ID", microsoft.ClientID)
	t.Setenv("AZURE_CLIENT_SECRET", microsoft.ClientSecret)
	t.Setenv("AZURE_AUTHORITY_HOST", microsoft.URL)
	go main()

	const site = "localhost:8080"
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", site)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	browser, err := msauthtest.Client("http://"+site+"/", msauthtest.Ada)
	if err != nil {
		t.Fatal(err)
	}
	res, err := browser.Get("http://" + site + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != "Hello, Ada Lindqvist" {
		t.Errorf("%d %q, %v", res.StatusCode, body, err)
	}
}
