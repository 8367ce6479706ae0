# make test   installs what is missing (scripts/setup), then tests all modules
# make fmt    formats all Go files

.PHONY: test setup fmt

test: setup
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted (run make fmt):" $$unformatted; exit 1; fi
	go vet work
	CGO_ENABLED=1 go test -race -shuffle=on work
	@# What users get: each module by itself.
	@set -eu; for dir in $$(go list -m -f '{{.Dir}}'); do \
		echo "cd $$dir && GOWORK=off go vet ./... && GOWORK=off go test ./..."; \
		(cd "$$dir" && GOWORK=off go vet ./... && GOWORK=off go test ./...); done
	@# Cookies must work where only FIPS 140-3 cryptography is allowed.
	go test -exec 'env GODEBUG=fips140=only' -run 'Cookie|Seal' .

setup:
	@scripts/setup

fmt:
	gofmt -w .
