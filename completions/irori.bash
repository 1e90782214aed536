# bash completion of irori(1)

_irori_functions()
{
    irori ls --json 2>/dev/null | sed -n 's/.*"FunctionName":[[:space:]]*"\([^"]*\)".*/\1/p'
}

_irori()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' word choices
    local commands='serve deploy invoke logs ps ls url rm runtimes doctor help'
    local global='--endpoint --data --region --json --help'

    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ " $commands " == *" $word "* ]]; then
            command=$word
            break
        fi
    done
    case $previous in
    --data | --config | --event)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --runtime)
        mapfile -t COMPREPLY < <(compgen -W 'nodejs18.x nodejs20.x nodejs22.x nodejs24.x python3.9 python3.10
            python3.11 python3.12 python3.13 python3.14 provided.al2 provided.al2023' -- "$current")
        return
        ;;
    --templates)
        if [[ $command == serve ]]; then
            mapfile -t COMPREPLY < <(compgen -W 'on off' -- "$current")
            return
        fi
        ;;
    --endpoint | --region | --name | --env | --memory | --timeout | --handler | --description | --role | --payload | \
        --qualifier | --client-context | --tenant-id | --tenant-header | --lines | --listen | --account-id | \
        --account-concurrency | --allow-host | --busy-poll-us | --freeze-after-ms | --idle-timeout-ms | --log-deleted | --code-cache-max-mb | --log-max-mb | \
        --max-environments | --max-memory-mb | --spare-slots | --template-idle-ms | -n | -e | -m | -t | -p | -q)
        return
        ;;
    esac
    case $command in
    '') choices="$commands --version $global" ;;
    deploy) choices="--name --url --env --memory --timeout --handler --runtime --description --role --clean-state --no-clean-state --tenancy
        --tenant-header $global" ;;
    invoke) choices="--payload --qualifier --tail --client-context --tenant-id $global" ;;
    logs) choices="--follow --lines --timestamps $global" ;;
    ps) choices="--templates $global" ;;
    url) choices="--create --delete $global" ;;
    rm) choices="--yes $global" ;;
    doctor) choices="--event --qualifier --tenant-id --yes $global" ;;
    runtimes) choices="sdk --again $global" ;;
    serve) choices='--listen --data --config --region --account-id --idle-timeout-ms --freeze-after-ms --max-memory-mb
        --busy-poll-us --code-cache-max-mb --log-max-mb --log-deleted --max-environments --spare-slots --account-concurrency --allow-host --no-auth
        --templates --template-idle-ms --debug --help' ;;
    *) choices=$global ;;
    esac
    if [[ $current != -* ]]; then
        case $command in
        invoke | logs | url | rm | doctor) choices=$(_irori_functions) ;;
        deploy)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
}

complete -o filenames -F _irori irori
