# make help   lists the targets

# Testreport prints what go test prints, and the slowest ten tests.
REPORT = go run ./scripts/testreport

.PHONY: help check test test-long pictures setup soak fuzz lint bench graphsdk register fmt api vulncheck sbom release-check

help:
	@echo 'make check      formatting, go vet and the quick tests of all modules, no browser: two minutes'
	@echo 'make test       installs what is missing (scripts/setup), then tests all modules'
	@echo 'make test-long  the same; what looks for rare races is repeated far more often'
	@echo 'make pictures   takes a picture of each page of the example, for e2e/screenshots'
	@echo 'make fmt        formats all Go files'
	@echo 'make api        notes what is new in the public API, in the directory api'
	@echo 'make lint       runs staticcheck and gosec'
	@echo 'make vulncheck  looks for known vulnerabilities, in the database at vuln.go.dev (VULNDB=file:///... for a copy)'
	@echo 'make sbom       writes what each published module is built from, to sbom/ (CycloneDX)'
	@echo 'make release-check  rehearses a release of HEAD and uses it from outside: four minutes'
	@echo 'make fuzz       runs each fuzz target for 30 seconds (FUZZTIME=10m for longer)'
	@echo 'make soak       runs the example under load for 5 minutes, with failing renewals'
	@echo 'make bench      measures this package beside others; needs redis-server'
	@echo 'make register   tests docs/register with the Azure CLI, 700 MB, and with Terraform'
	@echo 'make graphsdk   tests the example with msgraph-sdk-go, which takes minutes to compile'

check:
	$(check-format)
	go vet work
	go run ./scripts/api
	$(REPORT) go test -short $$(go list work | grep -v /e2e)

define check-format
@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
	echo "not formatted (run make fmt):" $$unformatted; exit 1; fi
endef

# The browser tests run by themselves: they would make the others wait, and both
# look at the clock. Before them, the packages that take longest begin.
TEST = go test -race -shuffle=on -timeout $(TIMEOUT)
TIMEOUT = 20m
test: setup
	$(check-format)
	go vet work
	go run ./scripts/api
	@# Each test runs once, with the race detector. Compiling is all that can be
	@# done here for other systems.
	@set -eu; for target in windows/amd64 darwin/arm64 freebsd/amd64 linux/arm64 linux/386; do \
		echo "GOOS=$${target%/*} GOARCH=$${target#*/} go build ./..."; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 go build ./...; done
	GOARCH=386 CGO_ENABLED=0 go vet ./...
	@# What users get: each module by itself builds and passes its quick tests.
	@# Those of the root package that count allocations run here alone: the race
	@# detector adds its own.
	@set -eu; for dir in $$(go list -m -f '{{.Dir}}'); do \
		run=.; case "$$dir" in */e2e) run='^$$';; */offline) run='Password|SigningUp|Connecting';; esac; \
		echo "cd $$dir && GOWORK=off go vet ./... && GOWORK=off go test -short -run '$$run' ."; \
		(cd "$$dir" && GOWORK=off go vet ./... && GOWORK=off go test -short -run "$$run" .); done
	@# The sizes that the README promises, held by the measurements' own fixtures.
	cd bench && GOWORK=off go vet ./... && GOWORK=off go test -run 'Sizes|HandWritten|Accounts|Hint' ./...
	@# What of the recipes is checked by libraries that nothing else should have to compile.
	cd deploy/schemas && GOWORK=off go vet . && GOWORK=off go test .
	@# 2000 renewals while credentials change; the race detector makes it 150.
	go test -run TestRollover ./tests/credentials
	@# Cookies and assertions must work where only FIPS 140-3 cryptography is allowed. Not the
	@# tests in synctest bubbles: the entropy source takes its noise from the
	@# clock, and theirs stands still.
	go test -exec 'env GODEBUG=fips140=only' -run '^Test(WorkSession|CookieN|CookieStore(K|O|L)|CookiesOf|InsecureCookies|EveryByte|PiecesOf|SigningOutUnder|StoreKeeps|AttemptCookie|Assertion(AtMicrosoft|Elsewhere|OfADevice)|ChainOfAFile|CertificateAndKey|EachCredential|PrivateKeyJWT)' . ./internal/credential ./tests/sessions ./tests/signin ./tests/requests ./tests/credentials
	CGO_ENABLED=1 $(REPORT) $(TEST) ./tokenstore ./example/replicas ./example/offline $$(go list work | grep -v /e2e) -- $(TEST) -p 2 $$(go list work | grep /e2e)

test-long: export MSAUTH_TEST_LONG = 1
test-long: export MSAUTH_SCREENSHOTS = 1
test-long: TIMEOUT = 2h
test-long: test

# Each tab has a window then, which takes twice the time.
pictures: setup
	MSAUTH_SCREENSHOTS=1 go test -count=1 ./e2e

setup:
	@scripts/setup

soak:
	go run ./e2e/soak -duration 5m

# One target at a time: go test -fuzz takes no more than one. It makes inputs that
# it finds interesting shorter, by default for a minute each.
FUZZ = go test -run '^$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s
FUZZTIME = 30s
fuzz:
	@set -eu; for pkg in $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
		echo "$(FUZZ) -fuzz '^$$target\$$' $$pkg"; \
		$(FUZZ) -fuzz "^$$target\$$" $$pkg; done; done

# gosec, of the package itself and what it is built from. G104 is about writes to responses and hashes,
# G115 about lengths that were compared before; what else it finds is explained
# where it stands.
lint:
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 work
	go run github.com/securego/gosec/v2/cmd/gosec@v2.30.0 -quiet -exclude=G104,G115 . ./graph ./livesdk $$(go list -f '{{if .GoFiles}}{{.Dir}}{{end}}' ./internal/...)

# On a machine that does nothing else. About five minutes.
bench:
	@scripts/setup redis-server
	cd bench && GOWORK=off go test ./... && GOWORK=off go run ./cmd/table

# Az takes a second or two to start, and is started some hundred times: ten minutes.
register:
	@command -v az >/dev/null || scripts/setup azure-cli
	MSAUTH_TEST_AZ=1 go test -count=1 -timeout 1h ./tests/register
	cd tests/register/azuread && GOWORK=off go vet ./... && GOWORK=off go test -count=1 ./...

# Outside go.work: nothing else should have to compile the SDK. One package at a
# time, because the largest takes over 4 GB of memory.
graphsdk:
	cd example/graphsdk && GOWORK=off go vet -p 1 ./... && GOWORK=off go test -vet=off -p 1 ./...

fmt:
	gofmt -w .

# Additions only. Without -write, as in check and test, it says what differs.
api:
	go run ./scripts/api -write

# Not part of the tests: the result depends on the day, and on the network. Each module
# by itself, as its users have it; but for the SDK, whose analysis takes too much memory.
VULNDB = https://vuln.go.dev
GOVULNCHECK = go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
vulncheck:
	@status=0; for file in $$(git ls-files '*go.mod' | grep -v graphsdk); do dir=$$(dirname $$file); \
		echo "cd $$dir && GOWORK=off $(GOVULNCHECK) -db $(VULNDB) ./..."; \
		(cd $$dir && GOWORK=off $(GOVULNCHECK) -db $(VULNDB) ./...) || status=1; done; exit $$status

# What belongs to tests alone is not in it. docs/release.md says how to read it.
CYCLONEDX = go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
sbom:
	@mkdir -p sbom
	@set -eu; go run ./scripts/release modules | while read path dir; do \
		echo "sbom/$$(basename $$path).cdx.json"; \
		GOWORK=off $(CYCLONEDX) mod -json -licenses -std -type library -output sbom/$$(basename $$path).cdx.json $$dir; done

# Not part of the tests: it builds everything anew, as somebody does who has nothing.
release-check:
	go run ./scripts/release check
