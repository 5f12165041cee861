// The program that the smoke test's pods run.
//
//	actor serve PORT            HTTP: says its host name and who asks; /ready until /tmp/unready is there
//	actor admit PORT CERT KEY   HTTPS: admits all but what is labelled refuse=me
//	actor get -4|-6 URL         prints what a server answers
//	actor api PATH              prints what the API server answers to the pod's own account
//	actor stay NAME FILE        writes its name when it begins, and again when it is told to end
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	unready = "/tmp/unready"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; arguments[0] {
	case "serve":
		err = serve(arguments[1])
	case "admit":
		err = http.ListenAndServeTLS(":"+arguments[1], arguments[2], arguments[3], http.HandlerFunc(admit))
	case "get":
		err = get(arguments[1], arguments[2])
	case "api":
		err = api(arguments[1])
	case "stay":
		err = stay(arguments[1], arguments[2])
	default:
		err = errors.New("no such part to play")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(port string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Printf("%s serves on %s\n", name, port)
	return http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(unready); err == nil && r.URL.Path == "/ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s to %s\n", name, from)
	}))
}

func admit(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID    string `json:"uid"`
			Object struct {
				Metadata struct {
					Labels map[string]string `json:"labels"`
				} `json:"metadata"`
			} `json:"object"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": "admission.k8s.io/v1",
		"kind":       "AdmissionReview",
		"response": map[string]any{
			"uid":     review.Request.UID,
			"allowed": review.Request.Object.Metadata.Labels["refuse"] != "me",
			"status":  map[string]any{"message": "refused by the actor"},
		},
	})
}

func get(family, url string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp"+strings.TrimPrefix(family, "-"), address)
		},
	}}
	answer, err := client.Get(url)
	return show(answer, err)
}

func api(path string) error {
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return err
	}
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	request, err := http.NewRequest(http.MethodGet, "https://kubernetes.default"+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	answer, err := client.Do(request)
	return show(answer, err)
}

func show(answer *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func stay(name, path string) error {
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	note := func(text string) error {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(file, text)
		return errors.Join(err, file.Close())
	}
	if err := note(name + " begins"); err != nil {
		return err
	}
	<-told.Done()
	return note(name + " ends")
}
