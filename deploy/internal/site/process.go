//go:build unix

package site

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Program is one of the programs that are a site. It can be started again when it has
// ended.
type Program struct {
	Name  string
	begin func(name string) (*process, error)
	mu    sync.Mutex
	now   *process
}

// Start starts the program, which must not run.
func (p *Program) Start() error {
	now, err := p.begin(p.Name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
	return nil
}

func (p *Program) process() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// Ended is closed when the process that was started last has ended.
func (p *Program) Ended() <-chan struct{} { return p.process().ended }

// How says how the process has ended, such as "exit status 1".
func (p *Program) How() string { return p.process().cmd.ProcessState.String() }

// PID is the number of the process.
func (p *Program) PID() int { return p.process().cmd.Process.Pid }

// stop has the program end, if it was started.
func (p *Program) stop(patience time.Duration) error {
	if p == nil {
		return nil
	}
	return p.process().stop(patience)
}

// A Failure is the error of a program that ended while it was started.
type Failure struct {
	Name string // of the program; its lines in the log begin with it
	How  string
}

func (f *Failure) Error() string { return fmt.Sprintf("%s has ended (%s)", f.Name, f.How) }

// A process is one that this program has started.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// run starts a program. What it writes goes to the log, and each line to see.
func (s *Site) run(name string, env []string, see func(line string), path string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.SysProcAttr = attributes()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	err = p.cmd.Start()
	write.Close()
	if err != nil {
		read.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		defer read.Close()
		// To the end, whatever comes: a program whose output nobody reads stands still.
		for text := bufio.NewReader(read); ; {
			line, err := text.ReadString('\n')
			if line == "" && err != nil {
				break
			}
			line = strings.TrimSuffix(line, "\n")
			s.log.line(name, line)
			if see != nil {
				see(line)
			}
		}
		_ = p.cmd.Wait() // ProcessState has it
		close(p.ended)
	}()
	return p, nil
}

// waitFor waits until something is true of the process.
func (p *process) waitFor(ctx context.Context, what string, is func() bool) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if is() {
			return nil
		}
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: waited a minute in vain until %s", p.name, what)
}

// failure is the error of a process that has ended.
func (p *process) failure() error { return &Failure{p.name, p.cmd.ProcessState.String()} }

// stop has the process end, and kills it if it does not.
func (p *process) stop(patience time.Duration) error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		p.kill()
		return fmt.Errorf("%s has not ended within %v", p.name, patience)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// lines writes lines of several processes.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lines) line(name, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "%-8s | %s\n", name, text)
}
