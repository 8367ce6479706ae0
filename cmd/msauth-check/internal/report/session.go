package report

// sessionKinds are about a sign-in that was made: -sign-in.
var sessionKinds = []Kind{}
