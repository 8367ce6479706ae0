// Package graph is a small client for Microsoft Graph.
package graph
