package bearer

import "context"

// valued is a context with further values.
type valued struct {
	context.Context
	more context.Context
}

// withValues returns ctx with those values of more that it does not have.
func withValues(ctx, more context.Context) context.Context {
	// Without the cancellation of more, because that is a value too, for package
	// context.
	return valued{ctx, context.WithoutCancel(more)}
}

// Value implements [context.Context].
func (v valued) Value(key any) any {
	if value := v.Context.Value(key); value != nil {
		return value
	}
	return v.more.Value(key)
}

// bounded is a context with the values of another.
type bounded struct {
	context.Context
	values context.Context
}

// boundedBy returns a context with the values of ctx and the cancellation of bound.
func boundedBy(ctx, bound context.Context) context.Context {
	return bounded{bound, context.WithoutCancel(ctx)}
}

// Value implements [context.Context].
func (b bounded) Value(key any) any { return b.values.Value(key) }
