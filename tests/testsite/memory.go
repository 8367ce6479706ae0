package testsite

import "runtime"

// LiveHeap is the number of bytes on the heap after two collections, for how much a
// test has left behind.
func LiveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
