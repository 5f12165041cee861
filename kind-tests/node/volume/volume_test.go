package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"diolkos.dev/kind-tests/node/recipe"
)

func TestAFolderChangesInOneStepAndKeepsNothingOld(t *testing.T) {
	folder := t.TempDir()
	for _, files := range []payload{
		{"a": {"1", 0o644}, "deep/b": {"2", 0o400}},
		{"a": {"3", 0o644}},
		{},
	} {
		if err := write(folder, files, -1); err != nil {
			t.Fatal(err)
		}
		for at, f := range files {
			text, err := os.ReadFile(filepath.Join(folder, at))
			if err != nil || string(text) != f.content {
				t.Errorf("%s: %q, %v, expected %q", at, text, err, f.content)
			}
			if found, _ := os.Stat(filepath.Join(folder, at)); uint32(found.Mode()) != f.mode {
				t.Errorf("%s: mode %v, expected %o", at, found.Mode(), f.mode)
			}
		}
	}
	entries, _ := os.ReadDir(folder)
	if len(entries) != 2 { // ..data and what it leads to
		t.Errorf("%v is left", entries)
	}
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	world := &world{maps: map[string]string{"settings": "one"}}
	volumes := New(t.TempDir(), world, nil)
	pod := podWith(v1.Volume{Name: "v", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{
		LocalObjectReference: v1.LocalObjectReference{Name: "settings"},
		Items:                []v1.KeyToPath{{Key: "key", Path: "deep/file"}},
	}}})
	links := map[string]bool{}
	for _, text := range []string{"one", "one", "two"} {
		world.maps["settings"] = text
		if err := volumes.Refresh(pod, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		folder := mountOf(t, volumes, "")
		if found, _ := os.ReadFile(folder + "/deep/file"); string(found) != text {
			t.Errorf("%q, expected %q", found, text)
		}
		link, _ := os.Readlink(folder + "/..data")
		links[link] = true
	}
	if len(links) != 2 {
		t.Errorf("%d versions were written, expected 2", len(links))
	}
	if file := mountOf(t, volumes, "deep/file"); !strings.HasSuffix(file, "/deep/file") {
		t.Errorf("a subPath is mounted from %s", file)
	}
}

func TestAnObjectThatIsNotThereHoldsThePodUnlessOptional(t *testing.T) {
	yes := true
	source := &v1.SecretVolumeSource{SecretName: "gone"}
	pod := podWith(v1.Volume{Name: "v", VolumeSource: v1.VolumeSource{Secret: source}})
	volumes := New(t.TempDir(), &world{}, nil)
	err := volumes.Refresh(pod, time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), `volume v: secrets "gone" not found`) {
		t.Errorf("%v", err)
	}
	source.Optional = &yes
	if err := volumes.Refresh(pod, time.Unix(0, 0)); err != nil {
		t.Error(err)
	}
}

func TestATokenIsRenewedAfterFourFifthsOfItsLife(t *testing.T) {
	world := &world{}
	pod := podWith(v1.Volume{Name: "v", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{
		Sources: []v1.VolumeProjection{{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token"}}},
	}}})
	volumes := New(t.TempDir(), world, nil)
	for _, test := range []struct {
		at       int64
		expected string
	}{{1000, "t1"}, {1479, "t1"}, {1480, "t2"}, {1481, "t2"}} {
		world.now = time.Unix(test.at, 0)
		if err := volumes.Refresh(pod, world.now); err != nil {
			t.Fatal(err)
		}
		if found, _ := os.ReadFile(mountOf(t, volumes, "") + "/token"); string(found) != test.expected {
			t.Errorf("at %d: %s, expected %s", test.at, found, test.expected)
		}
	}
	if next := volumes.RenewAt(); !next.Equal(time.Unix(1960, 0)) {
		t.Errorf("renewed next at %v", next)
	}
}

func TestPathsStayInTheirVolume(t *testing.T) {
	for _, path := range []string{"../x", "/x", "..data/x", "a/../../x"} {
		if err := (payload{}).put(path, "", 0); err == nil {
			t.Errorf("%s is taken", path)
		}
	}
	if _, err := within(t.TempDir(), "../x"); err == nil {
		t.Error("a subPath leads out")
	}
}

// world is an API server of few objects. Its tokens live for 600 s.
type world struct {
	maps   map[string]string
	now    time.Time
	tokens int
}

func (w *world) ConfigMap(_, name string) (*v1.ConfigMap, error) {
	text, ok := w.maps[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
	}
	return &v1.ConfigMap{Data: map[string]string{"key": text}}, nil
}

func (w *world) Secret(_, name string) (*v1.Secret, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func (w *world) Token(*v1.Pod, string, int64) (string, time.Time, error) {
	w.tokens++
	return fmt.Sprintf("t%d", w.tokens), w.now.Add(600 * time.Second), nil
}

func podWith(volume v1.Volume) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: v1.PodSpec{Volumes: []v1.Volume{volume}}}
}

func mountOf(t *testing.T, volumes *Volumes, below string) string {
	t.Helper()
	c := &v1.Container{VolumeMounts: []v1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: below}}}
	mounts, err := volumes.Mounts(c, &recipe.Environment{})
	if err != nil || !mounts[0].ReadOnly {
		t.Fatalf("%+v, %v", mounts, err)
	}
	return mounts[0].Source
}
