// Package schemas checks the recipes that cannot be run where the tests run: the
// Dockerfile by the parser and the rules of BuildKit, compose.yaml by the library of
// Docker Compose, and the Kubernetes objects by Kubernetes' own types and Kustomize. What
// can be run of them is: the commands that build the images, the programs in a root of
// their own, and nginx with the files of compose.yaml.
//
// It is a module of its own, outside go.work, because of these libraries.
package schemas
