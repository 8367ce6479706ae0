//go:build unix && !linux

package site

import "syscall"

// attributes keep an interrupt in the terminal from all processes but this one.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
