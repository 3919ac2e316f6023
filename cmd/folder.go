package pursercmd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// enters lists the commands that look at a configuration: its relative paths start at
// its folder, also those of directives that are Caddy's own, which take them to the
// working directory's.
var enters = []string{"run", "start", "validate", "adapt"}

// enterFolder makes the folder of the file that --config names the working directory,
// and returns the command line with the paths that it names made absolute, beside that
// folder. Without such a file, or for another command, it changes nothing.
func enterFolder(line []string) (changed []string, folder string) {
	command := commandOf(line[1:])
	if command != "reload" && !slices.Contains(enters, command) {
		return line, ""
	}
	changed = slices.Clone(line)
	file := ""
	eachPath(changed[1:], func(flag, path string) string {
		if path == "" || path == "-" { // the standard input
			return path
		}
		path = absolute(path)
		if flag == flagConfig {
			file = path
		}
		return path
	})
	switch {
	case file == "":
		return line, ""
	case command == "reload": // it only names the file, as the process that runs does
		return changed, ""
	}
	// The command start runs this very program once more.
	if strings.ContainsRune(line[0], filepath.Separator) {
		changed[0] = absolute(line[0])
	}
	folder = filepath.Dir(file)
	if err := os.Chdir(folder); err != nil {
		return line, folder // the command says what is wrong with the file
	}
	return changed, folder
}

const flagConfig = "config"

// absolute is a path that is good in every working directory.
func absolute(path string) string {
	if at, err := filepath.Abs(path); err == nil {
		return at
	}
	return path
}

// eachPath replaces the paths among a command's arguments: those of --config, which is
// -c as well, --envfile and --pidfile. An envfile may be several, with commas.
func eachPath(args []string, replace func(flag, path string) string) {
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		flag, inline, value := pathFlag(args[i])
		switch {
		case flag == "":
			continue
		case inline:
			prefix := strings.TrimSuffix(args[i], value)
			args[i] = prefix + replaced(flag, value, replace)
		case i+1 < len(args):
			i++
			args[i] = replaced(flag, args[i], replace)
		}
	}
}

func replaced(flag, value string, replace func(flag, path string) string) string {
	if flag != "envfile" {
		return replace(flag, value)
	}
	files := strings.Split(value, ",")
	for i, file := range files {
		files[i] = replace(flag, file)
	}
	return strings.Join(files, ",")
}

// pathFlag takes an argument apart that names a path; inline = its value is in it.
func pathFlag(arg string) (flag string, inline bool, value string) {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		name, value, inline = strings.Cut(name, "=")
		if slices.Contains([]string{flagConfig, "envfile", "pidfile"}, name) {
			return name, inline, value
		}
		return "", false, ""
	}
	if !strings.HasPrefix(arg, "-") {
		return "", false, ""
	}
	// -c may stand behind letters of flags that take no value.
	before, value, found := strings.Cut(arg[1:], "c")
	if !found || strings.Trim(before, "ewrpfh") != "" {
		return "", false, ""
	}
	value = strings.TrimPrefix(value, "=")
	return flagConfig, value != "", value
}
