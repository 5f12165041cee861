// Package probe asks containers whether they are well, and counts the answers.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Target is the container that is asked.
type Target struct {
	PodIP string
	Ports []v1.ContainerPort
	// Exec runs a command in it and returns the exit code.
	Exec func(ctx context.Context, argv []string) (int, error)
}

// Check asks once. An error is a "no" with its reason.
func Check(ctx context.Context, said *v1.ProbeHandler, at Target) error {
	switch {
	case said.Exec != nil:
		code, err := at.Exec(ctx, said.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command ended with %d", code)
		}
		return err
	case said.HTTPGet != nil:
		return Get(ctx, said.HTTPGet, at)
	case said.TCPSocket != nil:
		address, err := at.address(said.TCPSocket.Host, said.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	case said.GRPC != nil:
		return healthy(ctx, net.JoinHostPort(at.PodIP, strconv.Itoa(int(said.GRPC.Port))), said.GRPC.Service)
	}
	return errors.New("a probe that asks nothing")
}

// An answer is read to let the server finish, and no further.
const answerBytesMax = 10 << 10

// client makes a connection for every probe: one that is kept would outlive what it says.
var client = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Get makes one HTTP request; hooks do it too.
func Get(ctx context.Context, said *v1.HTTPGetAction, at Target) error {
	address, err := at.address(said.Host, said.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if said.Scheme == v1.URISchemeHTTPS {
		scheme = "https"
	}
	path := said.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.36")
	request.Header.Set("Accept", "*/*")
	for _, header := range said.HTTPHeaders {
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
			continue
		}
		request.Header.Set(header.Name, header.Value)
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, answerBytesMax))
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("HTTP status %d", answer.StatusCode)
	}
	return nil
}

func (t Target) address(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = t.PodIP
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, strconv.Itoa(port.IntValue())), nil
	}
	for _, named := range t.Ports {
		if named.Name == port.StrVal {
			return net.JoinHostPort(host, strconv.Itoa(int(named.ContainerPort))), nil
		}
	}
	if number, err := strconv.Atoi(port.StrVal); err == nil {
		return net.JoinHostPort(host, strconv.Itoa(number)), nil
	}
	return "", fmt.Errorf("port %q is none of the container's", port.StrVal)
}

func healthy(ctx context.Context, address string, service *string) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	request := &grpc_health_v1.HealthCheckRequest{}
	if service != nil {
		request.Service = *service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, request)
	if err == nil && answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("health is %s", answer.Status)
	}
	return err
}
