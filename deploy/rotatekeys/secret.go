package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// serviceAccount is where Kubernetes mounts what a pod needs to ask its API.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// secretStore is one text of a Secret. It needs the verbs get and patch for it.
type secretStore struct {
	client    *http.Client
	url       string // of the Secret
	token     func() ([]byte, error)
	secret    string
	key       string
	namespace string
}

// inCluster returns the store of a Secret in the namespace of this pod.
func inCluster(secret, key string) (*secretStore, error) {
	return openSecret(os.Getenv, serviceAccount, secret, key)
}

func openSecret(getenv func(string) string, dir, secret, key string) (*secretStore, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("-secret: KUBERNETES_SERVICE_HOST is not set: this is not a pod of Kubernetes")
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("-secret: %w: does the pod have a service account token (automountServiceAccountToken)?", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("-secret: %s has no certificate", filepath.Join(dir, "ca.crt"))
	}
	namespace, err := os.ReadFile(filepath.Join(dir, "namespace"))
	if err != nil {
		return nil, fmt.Errorf("-secret: %w", err)
	}
	s := &secretStore{
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}},
		token:  func() ([]byte, error) { return os.ReadFile(filepath.Join(dir, "token")) },
		secret: secret, key: key, namespace: strings.TrimSpace(string(namespace)),
	}
	s.url = "https://" + net.JoinHostPort(host, port) + "/api/v1/namespaces/" + url.PathEscape(s.namespace) + "/secrets/" + url.PathEscape(secret)
	return s, nil
}

// A secretObject is what is needed of a Secret. The field Data is base64 in JSON, as
// []byte is anyway.
type secretObject struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Data map[string][]byte `json:"data"`
}

func (s *secretStore) change(ctx context.Context, f func([]byte) ([]byte, error)) error {
	var now secretObject
	if err := s.do(ctx, http.MethodGet, "", nil, &now); err != nil {
		return err
	}
	text, ok := now.Data[s.key]
	if !ok {
		return fmt.Errorf("the Secret %s has no entry %q", s.secret, s.key)
	}
	if text == nil {
		text = []byte{}
	}
	changed, err := f(text)
	if err != nil || changed == nil {
		return err
	}
	// The version has the API refuse the change if somebody else was faster: status
	// 409, and the next run looks again.
	patch := secretObject{Data: map[string][]byte{s.key: changed}}
	patch.Metadata.ResourceVersion = now.Metadata.ResourceVersion
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return s.do(ctx, http.MethodPatch, "application/merge-patch+json", body, nil)
}

func (s *secretStore) do(ctx context.Context, method, contentType string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	token, err := s.token()
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s of the Secret %s in %s: %s%s", method, s.secret, s.namespace, res.Status, remedies[res.StatusCode])
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s of the Secret %s: the answer is not a Secret", method, s.secret)
	}
	return nil
}

var remedies = map[int]string{
	http.StatusForbidden: ": the service account needs the verbs get and patch for it (see deploy/kubernetes/rotatekeys.yaml)",
	http.StatusNotFound:  ": make it first (see docs/deploy.md)",
	http.StatusConflict:  ": somebody has changed it at the same time; the next run looks again",
}
