// Command grpc-peer is a gRPC server and a gRPC client that know nothing of diolkos: the client is
// gRPC's own xDS client. Tests run both against a primary.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	_ "google.golang.org/grpc/xds"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: grpc-peer server|client [flags]"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	switch os.Args[1] {
	case "server":
		listen := flags.String("listen", "", "address to listen on")
		identity := flags.String("identity", "", "folder with cert-chain.pem, key.pem, root-cert.pem")
		name := flags.String("name", "", "what to call itself in the x-pod header")
		_ = flags.Parse(os.Args[2:])
		fail(serve(*listen, *identity, *name))
	case "client":
		target := flags.String("target", "", "xds:///HOST:PORT")
		every := flags.Duration("every", 50*time.Millisecond, "time between calls")
		_ = flags.Parse(os.Args[2:])
		fail(call(*target, *every))
	default:
		fail(fmt.Errorf("unknown role %q", os.Args[1]))
	}
}

type server struct {
	health.UnimplementedHealthServer
	name string
}

func (s *server) Check(ctx context.Context, _ *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	saw := ""
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			for _, uri := range info.State.PeerCertificates[0].URIs {
				saw = uri.String()
			}
		}
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-pod", s.name, "x-saw", saw))
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

func serve(listen, identity, name string) error {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(identity, "cert-chain.pem"), filepath.Join(identity, "key.pem"))
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(identity, "root-cert.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go endWithInput()
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		NextProtos:   []string{"h2"},
	})))
	health.RegisterHealthServer(s, &server{name: name})
	return s.Serve(listener)
}

type line struct {
	Pod   string `json:"pod,omitempty"`
	Saw   string `json:"saw,omitempty"`
	Error string `json:"error,omitempty"`
}

func call(target string, every time.Duration) error {
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	go endWithInput()
	client := health.NewHealthClient(conn)
	out := json.NewEncoder(os.Stdout)
	for range time.Tick(every) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var header metadata.MD
		_, err := client.Check(ctx, &health.HealthCheckRequest{}, grpc.Header(&header))
		cancel()
		l := line{}
		if err != nil {
			l.Error = err.Error()
		}
		if v := header.Get("x-pod"); len(v) > 0 {
			l.Pod = v[0]
		}
		if v := header.Get("x-saw"); len(v) > 0 {
			l.Saw = v[0]
		}
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// endWithInput ends the process with its standard input, so that no test leaves one behind.
func endWithInput() {
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadByte(); err != nil {
			os.Exit(0)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "grpc-peer:", err)
	os.Exit(1)
}
