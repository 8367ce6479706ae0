// Command buildtimes measures how long the first build of a program takes, with an
// empty build cache: one that signs people in; the same with package graph; and,
// with the argument sdk, the example with msgraph-sdk-go (example/graphsdk).
//
//	go run ./scripts/buildtimes [-rounds 3] [sdk]
//
// Processor time is what to compare: it hardly depends on what else the machine
// does.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const program = `package main

import (
	"fmt"
	"log"
	"net/http"

	"example.com/msauth"
	%s
)

func main() {
	auth, err := msauth.New(msauth.Config{})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/auth/", auth)
	http.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintln(w, s.User.Name)
		%s
	})))
	log.Fatal(http.ListenAndServe("localhost:8080", nil))
}
`

const upload = `it, err := graph.New(s.Client(r.Context()), "").Files("").
			Upload(r.Context(), graph.Ref{Path: "a"}, r.Body, r.ContentLength, graph.UploadOptions{})
		fmt.Fprintln(w, it.Name, err)`

func main() {
	rounds := flag.Int("rounds", 3, "builds of each program; the median counts")
	flag.Parse()
	if err := run(*rounds, flag.Arg(0) == "sdk"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(rounds int, sdk bool) error {
	dir, err := os.MkdirTemp("", "buildtimes")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	without, err := write(dir, "without", "", "")
	if err != nil {
		return err
	}
	with, err := write(dir, "with", `"example.com/msauth/graph"`, upload)
	if err != nil {
		return err
	}
	var all [2][]cost
	for range rounds { // in turn, so that both meet the same machine
		for i, program := range []string{without, with} {
			c, err := build(program, dir)
			if err != nil {
				return err
			}
			all[i] = append(all[i], c)
		}
	}
	a, b := median(all[0]), median(all[1])
	fmt.Printf("signing people in:   %v\nwith package graph:  %v, %+.1f %% of processor time\n", a, b, 100*(b.processor.Seconds()/a.processor.Seconds()-1))
	if sdk {
		c, err := build("example/graphsdk", dir)
		if err != nil {
			return err
		}
		fmt.Printf("with msgraph-sdk-go: %v, %.0f times the processor time\n", c, c.processor.Seconds()/a.processor.Seconds())
	}
	return nil
}

// write makes a module with a program, which has the versions of this one.
func write(dir, name, imports, statement string) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, name)
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		return "", fmt.Errorf("run it in the root of the repository: %w", err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		return "", err
	}
	_, requires, _ := strings.Cut(string(mod), "\n")
	files := map[string]string{
		"main.go": fmt.Sprintf(program, imports, statement),
		"go.mod":  "module " + name + "\n" + requires + "\nrequire example.com/msauth v0.0.0\nreplace example.com/msauth => " + root + "\n",
		"go.sum":  string(sum),
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return at, nil
}

// A cost is what a build took.
type cost struct{ processor, wall time.Duration }

func (c cost) String() string {
	return fmt.Sprintf("%.1f s of processor time, %.1f s", c.processor.Seconds(), c.wall.Seconds())
}

// build builds the program in a directory with an empty cache.
func build(program, dir string) (cost, error) {
	cache := filepath.Join(dir, "cache")
	if err := os.RemoveAll(cache); err != nil {
		return cost{}, err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), ".")
	cmd.Dir = program
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOCACHE="+cache)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("go build in %s: %w\n%s", program, err, output.Bytes())
	}
	return cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), time.Since(began)}, nil
}

func median(costs []cost) cost {
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.processor, b.processor) })
	return costs[len(costs)/2]
}
