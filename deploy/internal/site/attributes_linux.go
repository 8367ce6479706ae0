package site

import "syscall"

// attributes keep an interrupt in the terminal from all processes but this one, and
// end them when this one is killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
