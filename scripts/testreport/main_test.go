package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events string
		failed bool
		want   []string
		hidden []string
	}{
		{"all pass", `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA/sub","Elapsed":2.5}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":2}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":3}
{"Action":"output","Package":"p","Output":"ok  \tp\t5s\n"}
{"Action":"pass","Package":"p","Elapsed":5}`, false, []string{"ok  \tp\t5s", "2 tests passed", "3.0s  p TestB\n     2.5s  p TestA"}, []string{"chatter", "sub"}},
		{"a test fails", `{"Action":"output","Package":"p","Test":"TestA","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":2}
{"Action":"output","Package":"p","Output":"FAIL\tp\t5s\n"}
{"Action":"fail","Package":"p","Elapsed":5}`, true, []string{"why\n", "FAIL\tp\t5s"}, nil},
		{"a panic", `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: no\n"}
{"Action":"output","Package":"p","Output":"exit status 2\n"}
{"Action":"fail","Package":"p","Elapsed":5}`, true, []string{"panic: no", "exit status 2"}, nil},
		{"does not build", `{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}`, true, []string{"undefined: x"}, nil},
		{"not of a test", "warning: no packages\n", false, []string{"warning: no packages"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			r := &report{out: &out, output: map[test][]string{}, took: map[test]float64{}}
			if err := r.read(strings.NewReader(tt.events)); err != nil {
				t.Fatal(err)
			}
			r.summary(0)
			if r.failed != tt.failed {
				t.Errorf("failed %t, want %t", r.failed, tt.failed)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, out.String())
				}
			}
			for _, hidden := range tt.hidden {
				if strings.Contains(out.String(), hidden) {
					t.Errorf("%q is in:\n%s", hidden, out.String())
				}
			}
		})
	}
}

func TestCommandsAreSplit(t *testing.T) {
	got := split([]string{"go", "test", ".", "--", "go", "test", "-p", "1", "x", "--"})
	if len(got) != 2 || strings.Join(got[0], " ") != "go test ." || strings.Join(got[1], " ") != "go test -p 1 x" {
		t.Errorf("%q", got)
	}
	for _, words := range [][]string{{"go", "vet", "."}, {"true"}, {"go", "test"}} {
		if err := (&report{}).run(words); err == nil {
			t.Errorf("%q runs", words)
		}
	}
}
