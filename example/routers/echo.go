package routers

import (
	"net/http"

	"github.com/labstack/echo/v5"

	"example.com/msauth"
)

// Echo is the site on echo.
func Echo(auth *msauth.Middleware) http.Handler {
	// begin echo
	e := echo.New()
	e.Use(echo.WrapMiddleware(auth.Load))
	e.Any("/auth/*", echo.WrapHandler(auth))
	e.GET("/", func(c *echo.Context) error {
		s, ok := msauth.FromContext(c.Request().Context())
		if !ok {
			return c.String(http.StatusOK, "Hello, whoever you are")
		}
		return c.String(http.StatusOK, "Hello, "+s.User.Name)
	})
	e.GET("/private", echo.WrapHandler(http.HandlerFunc(private)), echo.WrapMiddleware(auth.Require))
	// end echo
	return e
}
