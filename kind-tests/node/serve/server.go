// Package serve answers what the API server asks a node for: logs, commands executed in containers,
// and ports of pods.
package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"diolkos.dev/kind-tests/node/logs"
)

// Pod is what is asked of a pod.
type Pod interface {
	Logs(ctx context.Context, to io.Writer, container string, previous bool, wish logs.Wish) error
	Exec(ctx context.Context, container string, argv []string, tty bool, files [3]*os.File) (int, error)
	Dial(port uint16, timeout time.Duration) (net.Conn, error)
}

// Server serves all nodes of the program alike.
type Server struct {
	find func(namespace, name string) Pod
	tls  *tls.Config
	mux  *http.ServeMux
}

// New makes a server that finds pods by `find`; nil is none. Whoever asks must have a certificate
// of the authority in the file `clientCA`, if there is one.
func New(find func(namespace, name string) Pod, clientCA string) (*Server, error) {
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	s := &Server{find: find, mux: http.NewServeMux(), tls: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	if clientCA != "" {
		text, err := os.ReadFile(clientCA)
		if err != nil {
			return nil, err
		}
		s.tls.ClientCAs, s.tls.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !s.tls.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", clientCA)
		}
	}
	s.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	for _, method := range []string{"GET", "POST"} {
		s.mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", s.exec)
		s.mux.HandleFunc(method+" /portForward/{namespace}/{pod}", s.portForward)
		s.mux.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "attach is not supported; use logs or exec", http.StatusNotImplemented)
		})
	}
	return s, nil
}

// Listen serves on an address until `ctx` ends.
func (s *Server) Listen(ctx context.Context, address netip.Addr, port uint16) error {
	listener, err := tls.Listen("tcp", netip.AddrPortFrom(address, port).String(), s.tls)
	if err != nil {
		return fmt.Errorf("serving logs and exec: %w", err)
	}
	// No HTTP/2: its streams cannot become those of exec.
	server := &http.Server{
		Handler: s.mux, ReadHeaderTimeout: 10 * time.Second,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(os.Stderr, "serving on %s: %v\n", address, err)
		}
	}()
	return nil
}

// pod finds the pod that a request is about, or answers that there is none.
func (s *Server) pod(w http.ResponseWriter, r *http.Request) Pod {
	found := s.find(r.PathValue("namespace"), r.PathValue("pod"))
	if found == nil {
		http.Error(w, fmt.Sprintf("pod %s/%s is not here", r.PathValue("namespace"), r.PathValue("pod")), http.StatusNotFound)
	}
	return found
}

// selfSigned is what an API server without --kubelet-certificate-authority takes.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "diolkos-node"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	}
	text, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{text}, PrivateKey: key}, err
}
