// Package deploy is where the recipes for running a site are: example/replicas, three
// times, behind nginx and on Redis. docs/deploy.md leads through them.
//
//	local/       all of it as processes of one computer: go run ./deploy/local
//	compose/     for Docker Compose
//	kubernetes/  for kubectl apply -k
//	systemd/     a unit for each server
//	Dockerfile   the images for the second and third
//	nginx/       the configuration that the recipes with nginx have in common
//	redis/       that of Redis
//	prepare/     a command that makes what is secret
//	rotatekeys/  a command that changes keys, one step at a time
//	schemas/     a module of its own, which checks what cannot be run by the libraries of
//	             those who run it
package deploy
