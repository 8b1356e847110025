package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"provingground/dsl"
	"provingground/orchestrator"
)

// The command completion prints what makes a shell complete our commands, flags and arguments. All of it comes from the commands themselves:
// what their usage lines and their flag sets say.

func completionCommand(ctx context.Context, p program, args []string) (int, error) {
	shells := map[string]func(io.Writer, []completable) error{"bash": completeBash, "zsh": completeZsh, "fish": completeFish}
	positional, err := p.parse(p.flags("completion"), args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(positional) == 0 {
		return orchestrator.CodeUsage, usagef("it takes the name of the shell: bash, zsh or fish")
	}
	if err := tooMany(positional, 1); err != nil {
		return orchestrator.CodeUsage, err
	}
	write, ok := shells[positional[0]]
	if !ok {
		hint := dsl.Suggest(positional[0], []string{"bash", "zsh", "fish"})
		if hint == "" {
			hint = "it is one of bash, zsh, fish"
		}
		return orchestrator.CodeUsage, usagef("no completion for %q: %s", positional[0], hint)
	}
	all, err := completables(ctx)
	if err != nil {
		return orchestrator.CodeInternal, err
	}
	var script strings.Builder
	if err := write(&script, all); err != nil {
		return orchestrator.CodeInternal, err
	}
	_, err = io.WriteString(p.stdout, script.String())
	return orchestrator.CodeOK, err //nolint:wrapcheck // says that standard output failed
}

// completable is what can be completed of a command.
type completable struct {
	name, summary string
	flags         []completableFlag
	arguments     []completableArgument // in order; the last one may be repeated
}

// completableFlag is a flag. One that is on or off has no value.
type completableFlag struct {
	name, value, help string
	words             []string // that its value may be; nil for any
}

// file reports whether the value is a file.
func (f completableFlag) file() bool { return f.value == "file" }

// completableArgument is an argument: one of some words, or a file with one of some endings.
type completableArgument struct {
	words   []string
	endings []string
}

// completables returns the commands with what can be completed of them.
func completables(ctx context.Context) ([]completable, error) {
	var all []completable
	var names []string
	for _, c := range commands() {
		one := completable{name: c.name, summary: c.summary, arguments: argumentsOf(c)}
		var help strings.Builder
		if _, err := c.run(ctx, program{stdout: &help}, []string{"-help"}); !errors.Is(err, flag.ErrHelp) {
			return nil, fmt.Errorf("ask %s for its flags: %w", c.name, err)
		}
		one.flags = flagsOf(help.String())
		all = append(all, one)
		names = append(names, c.name)
	}
	help := completable{name: "help", summary: "list the commands, or the flags of one", arguments: []completableArgument{{words: names}}}
	return append(all, help), nil
}

// argumentsOf reads a command's usage line.
func argumentsOf(c command) []completableArgument {
	flags := regexp.MustCompile(`\[(-[^]]*|flags)\]…?|-\w+ \S+`)
	var arguments []completableArgument
	for word := range strings.FieldsSeq(flags.ReplaceAllString(c.usage, "")) {
		plain := strings.Trim(word, "[]…")
		switch {
		case word == "<": // what follows comes on standard input, and shells complete files there
			return arguments
		case strings.Contains(plain, "|"):
			arguments = append(arguments, completableArgument{words: strings.Split(plain, "|")})
		case plain == "config.json":
			arguments = append(arguments, completableArgument{endings: []string{"json"}})
		case plain == "run.out":
			arguments = append(arguments, completableArgument{endings: []string{"out", "record"}})
		case plain == "FILE":
			arguments = append(arguments, completableArgument{endings: []string{"script"}})
		case plain == "ACTION", plain == "NAME":
			arguments = append(arguments, completableArgument{words: orchestrator.Explained()})
		}
	}
	return arguments
}

// flagsOf reads the help of a command, as the flag set prints it: a line with two blanks, - and the name, and for one with a value its kind;
// under it the help.
func flagsOf(help string) []completableFlag {
	choice := regexp.MustCompile(`: ((?:[a-z]+, )*[a-z]+) or ([a-z]+)\b`)
	var flags []completableFlag
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			name, rest, _ := strings.Cut(name, "\t") // a flag of one letter has its help on the same line
			name, value, _ := strings.Cut(name, " ")
			flags = append(flags, completableFlag{name: name, value: value, help: strings.TrimSpace(rest)})
			continue
		}
		text, ok := strings.CutPrefix(line, "    \t")
		if ok && len(flags) > 0 && flags[len(flags)-1].help == "" {
			flags[len(flags)-1].help = text
		}
	}
	for i, f := range flags {
		if m := choice.FindStringSubmatch(f.help); m != nil && f.value != "" {
			flags[i].words = append(strings.Split(m[1], ", "), m[2])
		}
	}
	return flags
}

// completeBash writes the script for bash.
func completeBash(w io.Writer, all []completable) error {
	var names, valued []string
	var arms strings.Builder
	for _, c := range all {
		names = append(names, c.name)
		fmt.Fprintf(&arms, "    %s)\n", c.name)
		if len(c.flags) > 0 {
			var flags []string
			fmt.Fprintln(&arms, "      case $prev in")
			for _, f := range c.flags {
				flags = append(flags, "-"+f.name)
				if f.value != "" && !slices.Contains(valued, "-"+f.name) {
					valued = append(valued, "-"+f.name)
				}
				switch {
				case len(f.words) > 0:
					fmt.Fprintf(&arms, "        -%s) _orchestrator_words %s; return ;;\n", f.name, strings.Join(f.words, " "))
				case f.file():
					fmt.Fprintf(&arms, "        -%s) COMPREPLY+=($(compgen -f -- \"$cur\")); return ;;\n", f.name)
				case f.value != "":
					fmt.Fprintf(&arms, "        -%s) return ;;\n", f.name)
				}
			}
			fmt.Fprintln(&arms, "      esac")
			fmt.Fprintf(&arms, "      if [[ $cur == -* ]]; then\n        _orchestrator_words %s\n        return\n      fi\n", strings.Join(flags, " "))
		}
		for i, a := range c.arguments {
			complete := "_orchestrator_words " + strings.Join(a.words, " ")
			if len(a.words) == 0 {
				complete = "_orchestrator_files " + strings.Join(a.endings, " ")
			}
			if i == len(c.arguments)-1 {
				fmt.Fprintf(&arms, "      %s\n", complete)
			} else {
				fmt.Fprintf(&arms, "      if ((position == %d)); then\n        %s\n        return\n      fi\n", i, complete)
			}
		}
		fmt.Fprintln(&arms, "      ;;")
	}
	_, err := fmt.Fprintf(w, `# bash completion for orchestrator. To have it in this shell: source <(orchestrator completion bash)

_orchestrator_words() {
  COMPREPLY+=($(compgen -W "$*" -- "$cur"))
}

_orchestrator_files() {
  local ending
  for ending in "$@"; do
    COMPREPLY+=($(compgen -f -X "!*.$ending" -- "$cur"))
  done
  COMPREPLY+=($(compgen -d -- "$cur"))
}

_orchestrator() {
  local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=run first=1 position=0 i
  local commands=" %[1]s " valued=" %[3]s "
  COMPREPLY=()
  if ((COMP_CWORD > 1)) && [[ $commands == *" ${COMP_WORDS[1]} "* ]]; then
    command=${COMP_WORDS[1]}
    first=2
  elif ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then
    _orchestrator_words %[1]s
  fi
  for ((i = first; i < COMP_CWORD; i++)); do
    if [[ $valued == *" ${COMP_WORDS[i]} "* ]]; then
      ((i += 1))
    elif [[ ${COMP_WORDS[i]} != -* ]]; then
      ((position += 1))
    fi
  done
  case $command in
%[2]s  esac
}

complete -o filenames -F _orchestrator orchestrator
`, strings.Join(names, " "), &arms, strings.Join(valued, " "))
	return err //nolint:wrapcheck // of a strings.Builder
}

// completeZsh writes the script for zsh.
func completeZsh(w io.Writer, all []completable) error {
	var list, arms strings.Builder
	for _, c := range all {
		fmt.Fprintf(&list, "    %s\n", zshQuote(c.name+":"+strings.ReplaceAll(c.summary, ":", `\:`)))
		if c.name != "run" {
			arms.WriteString(zshArm(c.name, c))
		}
	}
	// The word run may be left out.
	i := slices.IndexFunc(all, func(c completable) bool { return c.name == "run" })
	arms.WriteString(zshArm("*", all[i]))
	_, err := fmt.Fprintf(w, `#compdef orchestrator
# zsh completion for orchestrator. Put it as _orchestrator into a directory of $fpath, or, behind compinit: source <(orchestrator completion zsh)

_orchestrator() {
  local -a commands
  commands=(
%s  )
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe -t commands command commands
    _files -g '*.json'
    return
  fi
  local command=run
  if (( ${commands[(I)$words[2]:*]} )); then
    command=$words[2]
    shift words
    (( CURRENT-- ))
  fi
  case $command in
%s  esac
}

if [[ $funcstack[1] == _orchestrator ]]; then
  _orchestrator "$@"
else
  compdef _orchestrator orchestrator
fi
`, &list, &arms)
	return err //nolint:wrapcheck // of a strings.Builder
}

// zshArm is the branch of the case for a command.
func zshArm(pattern string, c completable) string {
	var specs []string
	escape := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`)
	for _, f := range c.flags {
		spec := fmt.Sprintf("-%s[%s]", f.name, escape.Replace(f.help))
		switch {
		case len(f.words) > 0:
			spec += fmt.Sprintf(":%s:(%s)", f.value, strings.Join(f.words, " "))
		case f.file():
			spec += ":file:_files"
		case f.value != "":
			spec += ":" + escape.Replace(f.value) + ": "
		}
		specs = append(specs, spec)
	}
	for i, a := range c.arguments {
		place := fmt.Sprint(i + 1)
		if i == len(c.arguments)-1 {
			place = "*"
		}
		if len(a.words) > 0 {
			specs = append(specs, fmt.Sprintf("%s:name:(%s)", place, strings.Join(a.words, " ")))
		} else {
			specs = append(specs, fmt.Sprintf(`%s:file:_files -g "*.(%s)"`, place, strings.Join(a.endings, "|")))
		}
	}
	var arm strings.Builder
	fmt.Fprintf(&arm, "    %s)\n      _arguments", pattern)
	for _, spec := range specs {
		fmt.Fprintf(&arm, " \\\n        %s", zshQuote(spec))
	}
	arm.WriteString("\n      ;;\n")
	return arm.String()
}

// zshQuote puts a text into single quotes, as both zsh and bash read them.
func zshQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// completeFish writes the script for fish.
func completeFish(w io.Writer, all []completable) error {
	quote := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
	}
	var names []string
	var script strings.Builder
	for _, c := range all {
		names = append(names, c.name)
		fmt.Fprintf(&script, "complete -c orchestrator -n __fish_use_subcommand -a %s -d %s\n", c.name, quote(c.summary))
	}
	for _, c := range all {
		seen := "__fish_seen_subcommand_from " + c.name
		if c.name == "run" { // whose name may be left out
			seen = "not __fish_seen_subcommand_from " + strings.Join(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "run" }), " ")
		}
		for _, f := range c.flags {
			kind := ""
			switch {
			case len(f.words) > 0:
				kind = " -x -a " + quote(strings.Join(f.words, " "))
			case f.file():
				kind = " -r -F"
			case f.value != "":
				kind = " -x"
			}
			fmt.Fprintf(&script, "complete -c orchestrator -n %s -o %s%s -d %s\n", quote(seen), f.name, kind, quote(f.help))
		}
		for _, a := range c.arguments {
			if len(a.words) > 0 {
				fmt.Fprintf(&script, "complete -c orchestrator -n %s -a %s\n", quote(seen), quote(strings.Join(a.words, " ")))
			}
			for _, ending := range a.endings {
				fmt.Fprintf(&script, "complete -c orchestrator -n %s -k -a '(__fish_complete_suffix .%s)'\n", quote(seen), ending)
			}
		}
	}
	_, err := fmt.Fprintf(w, "# fish completion for orchestrator. To have it: orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish\n\n"+
		"complete -c orchestrator -f\n%s", &script)
	return err //nolint:wrapcheck // of a strings.Builder
}
