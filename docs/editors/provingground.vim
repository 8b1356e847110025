" Vim syntax file of the experiment scripts of Proving Ground

if exists("b:current_syntax")
  finish
endif

syntax iskeyword @,48-57,_,-

syntax match   pgName       "[A-Za-z_][A-Za-z0-9_-]*" transparent contains=NONE
syntax match   pgStatement  "\<\(experiment\|seed\|limit\|param\|let\|use\|as\|parallel\|repeat\|watch\|expect\|on\|failure\|finally\|retry\|every\|within\|after\)\>"
syntax keyword pgWord       and or not
syntax keyword pgConstant   none true false
syntax match   pgAction     "\<[A-Za-z_][A-Za-z0-9_-]*\ze\s*("
syntax match   pgFunction   "\<\(count\|min\|max\|coverage\|now\|env\|log\)\ze\s*("
syntax match   pgParameter  "\<[A-Za-z_][A-Za-z0-9_-]*\ze\s*:"
syntax match   pgNumber     "\<\d[0-9_]*\(\.\d[0-9_]*\)\?\([eE][+-]\?\d\+\)\?" nextgroup=pgUnit
syntax match   pgUnit       "[ \t]*\(slots\|slot\|nanomina\|mina\|tps\|s\|m\|h\)\>" contained
syntax match   pgUnit       "\(%\|/min\|/s\|/h\)" contained
syntax match   pgOperator   "??\|\.\.\|<=\|>=\|==\|!=\|[<>+*/=]\| - "
syntax region  pgString     start=+"+ skip=+\\.+ end=+"\|$+ contains=pgValue,pgEscape
syntax match   pgValue      "\${[A-Za-z_][A-Za-z0-9_-]*}" contained
syntax match   pgEscape     +\\\(["\\/bfnrt$]\|u\x\{4}\)+ contained
syntax match   pgComment    "#.*$" contains=pgTodo
syntax keyword pgTodo       TODO FIXME contained

highlight default link pgStatement Statement
highlight default link pgWord      Operator
highlight default link pgConstant  Constant
highlight default link pgAction    Function
highlight default link pgFunction  Special
highlight default link pgParameter Identifier
highlight default link pgNumber    Number
highlight default link pgUnit      Type
highlight default link pgOperator  Operator
highlight default link pgString    String
highlight default link pgValue     Identifier
highlight default link pgEscape    SpecialChar
highlight default link pgComment   Comment
highlight default link pgTodo      Todo

let b:current_syntax = "provingground"
