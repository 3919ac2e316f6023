package pursercmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// composition is docker-compose.yml as far as it is looked at.
type composition struct {
	Services map[string]composedService
	Secrets  map[string]struct{ File string }
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
}

type composedService struct {
	Image       string
	Build       any
	Command     []string
	Environment map[string]string
	Volumes     []string
	Secrets     []string
	Networks    []string
	Ports       []string
	ReadOnly    bool          `yaml:"read_only"`
	CapDrop     []string      `yaml:"cap_drop"`
	SecurityOpt []string      `yaml:"security_opt"`
	StopGrace   time.Duration `yaml:"stop_grace_period"`
}

// mounts are the files of the repository that a service reads, by where it has
// them.
func (s composedService) mounts() map[string]string {
	found := map[string]string{}
	for _, v := range s.Volumes {
		if parts := strings.Split(v, ":"); strings.HasPrefix(parts[0], "./") {
			found[parts[1]] = parts[0]
		}
	}
	return found
}

// readComposition reads the file, and holds that every name in it is declared.
func readComposition(t *testing.T) composition {
	t.Helper()
	var c composition
	if err := yaml.Unmarshal([]byte(readRepository(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for name, s := range c.Services {
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: network %s is not declared", name, n)
			}
		}
		for _, n := range s.Secrets {
			used[n] = true
			if _, ok := c.Secrets[n]; !ok {
				t.Errorf("%s: secret %s is not declared", name, n)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			_, ok := c.Volumes[from]
			if strings.HasPrefix(from, "./") {
				_, err := os.Stat(filepath.Join("..", from))
				ok = err == nil
			}
			if !ok {
				t.Errorf("%s: there is no volume or file %s", name, from)
			}
		}
	}
	for name := range c.Secrets {
		if !used[name] {
			t.Errorf("secret %s is nobody's", name)
		}
	}
	return c
}

func readRepository(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pinned is an image of one version.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+[0-9.]*(-[a-z0-9.]+)?$`)

// TestComposeWalls holds that containers can do little, and that what nobody but
// the gateway speaks to cannot be reached from outside.
func TestComposeWalls(t *testing.T) {
	t.Parallel()
	c := readComposition(t)
	published := []string{"balancer", "grafana", "purser"}
	private := []string{"postgres", "redis", "prometheus"}
	for _, name := range slices.Concat(published, private) {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	for name, s := range c.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not read_only without capabilities and without new privileges", name)
		}
		if len(s.Ports) > 0 && !slices.Contains(published, name) {
			t.Errorf("%s publishes %v, want nothing", name, s.Ports)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, p)
			}
		}
		for _, n := range s.Networks {
			if slices.Contains(private, name) && !c.Networks[n].Internal {
				t.Errorf("%s is in network %s, which is not internal", name, n)
			}
		}
		if len(s.Networks) == 0 {
			t.Errorf("%s is in the default network", name)
		}
		for variable, value := range s.Environment {
			if strings.Contains(variable, "PASSWORD") && !strings.HasPrefix(value, "/run/secrets/") {
				t.Errorf("%s: %s is no file", name, variable)
			}
		}
	}
}

var (
	secretFile = regexp.MustCompile(`/run/secrets/([a-z_.]+)`)
	stopTimes  = regexp.MustCompile(`(?m)^\t(?:shutdown_delay|grace_period) (\w+)`)
	adminLine  = regexp.MustCompile(`(?m)^\tadmin (\S+?)(?:\|0600)?$`)
	hostPort   = regexp.MustCompile(`\b([a-z]+(?:-[0-9])?):([0-9]{4,5})\b`)
)

// TestComposeCaddyfiles holds that each service has what its Caddyfile asks for,
// time to stop by it, and no secret more.
func TestComposeCaddyfiles(t *testing.T) {
	t.Parallel()
	c := readComposition(t)
	looked := 0
	for name, s := range c.Services {
		n := slices.Index(s.Command, "--config")
		if n < 0 {
			continue
		}
		looked++
		path, ok := s.mounts()[s.Command[n+1]]
		if !ok {
			t.Fatalf("%s: %s is not mounted", name, s.Command[n+1])
		}
		text := readRepository(t, path)
		var secrets []string
		for _, m := range secretFile.FindAllStringSubmatch(text, -1) {
			secrets = append(secrets, m[1])
		}
		slices.Sort(secrets)
		if diff := cmp.Diff(secrets, slices.Sorted(slices.Values(s.Secrets))); diff != "" {
			t.Errorf("%s: secrets (-Caddyfile +service):\n%s", name, diff)
		}
		var stop time.Duration
		for _, m := range stopTimes.FindAllStringSubmatch(text, -1) {
			d, err := time.ParseDuration(m[1])
			if err != nil {
				t.Fatal(err)
			}
			stop += d
		}
		if stop == 0 || s.StopGrace < stop+5*time.Second {
			t.Errorf("%s: has %s to stop, want %s and 5s more", name, s.StopGrace, stop)
		}
		if m := adminLine.FindStringSubmatch(text); m != nil && m[1] != "off" && s.Environment["PURSER_ADMIN"] != m[1] {
			t.Errorf("%s: PURSER_ADMIN is %q, want %q", name, s.Environment["PURSER_ADMIN"], m[1])
		}
	}
	if looked != 3 {
		t.Errorf("%d services have a Caddyfile, want 3", looked)
	}
}

// TestComposeHosts holds that every name in the files of deploy is a service that
// can be reached, at a port that it serves.
func TestComposeHosts(t *testing.T) {
	t.Parallel()
	c := readComposition(t)
	gateway := readRepository(t, "deploy/gateway.caddyfile")
	for _, from := range []struct{ service, file string }{
		{"purser-1", "gateway.caddyfile"},
		{"balancer", "balancer.caddyfile"},
		{"prometheus", "prometheus.yml"},
		{"grafana", "grafana/datasource.yml"},
		{"purser-2", "make-secrets"},
	} {
		found := 0
		for _, m := range hostPort.FindAllStringSubmatch(readRepository(t, "deploy/"+from.file), -1) {
			host, port := m[1], m[2]
			if host == "localhost" || host == "alertmanager" {
				continue
			}
			found++
			to, ok := c.Services[host]
			if !ok || !slices.ContainsFunc(to.Networks, func(n string) bool { return slices.Contains(c.Services[from.service].Networks, n) }) {
				t.Errorf("%s: %s does not reach %s", from.file, from.service, host)
			}
			if strings.HasPrefix(host, "purser-") && !strings.Contains(gateway, "http://:"+port+" {") {
				t.Errorf("%s: %s does not serve port %s", from.file, host, port)
			}
		}
		if found == 0 {
			t.Errorf("%s names no service", from.file)
		}
	}
}

// TestMakeSecrets holds that the script makes every file that docker-compose.yml
// names, and makes none anew.
func TestMakeSecrets(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl")
	}
	folder := filepath.Join(t.TempDir(), "secrets")
	read := func() map[string]string {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "../deploy/make-secrets", folder).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		files, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		text := map[string]string{}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(folder, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			text[f.Name()] = string(b)
		}
		return text
	}
	got := read()
	var names []string
	for name, s := range readComposition(t).Secrets {
		names = append(names, name)
		if len(got[name]) < 20 {
			t.Errorf("%s has %d bytes", name, len(got[name]))
		}
		if want := "./deploy/secrets/" + name; s.File != want {
			t.Errorf("%s is read from %s, want %s", name, s.File, want)
		}
	}
	if len(got) != len(names) {
		t.Errorf("there are %d files, want %d: %v", len(got), len(names), names)
	}
	if !strings.Contains(got["database_url"], strings.TrimSpace(got["database_password"])) {
		t.Error("database_url is not by the password")
	}
	if diff := cmp.Diff(got, read()); diff != "" {
		t.Error("the second time others are made") // without the difference, which shows them
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v, want mode 0700", info.Mode(), err)
	}
}

// TestDockerfile holds that the image is built as `make build` does, of images of
// one version, for no root.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := readRepository(t, "Dockerfile")
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1)
	if len(from) != 2 || !pinned.MatchString(from[0][1]) || from[1][1] != "scratch" {
		t.Fatalf("it builds from %v, want a pinned image and then scratch", from)
	}
	version := regexp.MustCompile(`(?m)^go ([0-9]+\.[0-9]+)`).FindStringSubmatch(readRepository(t, "go.mod"))
	if version == nil || !strings.HasPrefix(from[0][1], "golang:"+version[1]+".") {
		t.Errorf("it builds by %s, and go.mod says %v", from[0][1], version)
	}
	for _, line := range []string{`RUN make build VERSION="$VERSION"`, "USER 65532:65532", "COPY --from=build /src/purser /usr/bin/purser"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("it has no line %s", line)
		}
	}
	if build := readRepository(t, "Makefile"); !regexp.MustCompile(`(?m)^build:.*\n\tCGO_ENABLED=0 .* -o purser ./cmd/purser$`).MatchString(build) {
		t.Error("make build makes no static ./purser")
	}
	if ignored := readRepository(t, ".dockerignore"); !strings.Contains(ignored, "\n/deploy/secrets\n") {
		t.Error("the secrets travel to who builds")
	}
}
