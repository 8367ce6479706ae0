package routers

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"example.com/msauth"
)

// Gin is the site on gin.
func Gin(auth *msauth.Middleware) http.Handler {
	// begin gin
	r := gin.New()
	r.Use(wrap(auth.Load))
	r.Any("/auth/*any", gin.WrapH(auth))
	r.GET("/", func(c *gin.Context) {
		s, ok := msauth.FromContext(c.Request.Context())
		if !ok {
			c.String(http.StatusOK, "Hello, whoever you are")
			return
		}
		c.String(http.StatusOK, "Hello, %s", s.User.Name)
	})
	r.GET("/private", wrap(auth.Require), gin.WrapF(private))
	// end gin
	return r
}

// begin gin adapter

// wrap makes a gin handler of an ordinary middleware.
func wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // its context holds the session
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // the middleware has answered
		}
	}
}

// end gin adapter
