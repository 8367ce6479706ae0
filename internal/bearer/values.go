package bearer

import "context"

// valued is a context with values of others: first is asked, then then.
type valued struct {
	context.Context
	first, then context.Context
}

// withValues returns ctx with the values of first, and those of then that first does
// not have.
func withValues(ctx, first, then context.Context) context.Context {
	// Without cancellation, because that is a value too, for package context.
	return valued{ctx, context.WithoutCancel(first), context.WithoutCancel(then)}
}

// Value implements [context.Context].
func (v valued) Value(key any) any {
	if value := v.first.Value(key); value != nil {
		return value
	}
	return v.then.Value(key)
}
